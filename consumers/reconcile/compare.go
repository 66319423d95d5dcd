package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"cartstream/api/cart"
)

// compare compares these users' carts, looks again after a while at those that differ, and heals those that still do. failed
// is why some could not be compared or healed; the error is for all of them.
func (r *Reconciler) compare(ctx context.Context, f *figures, users []string) (failed map[string]error, err error) {
	if err := r.pace.WaitN(ctx, min(len(users), perPage)); err != nil {
		return nil, err
	}
	failed = map[string]error{}
	found, err := r.look(ctx, users, failed)
	if err != nil {
		return nil, err
	}
	r.count(f, len(found))
	first := differing(found)
	if len(first) == 0 {
		return failed, nil
	}
	if err := sleep(ctx, r.LookAgainAfter); err != nil {
		return nil, err
	}
	return failed, r.again(ctx, f, first, failed)
}

// count counts carts that were compared.
func (r *Reconciler) count(f *figures, carts int) {
	f.compared.Add(int64(carts))
	r.meter.compared.Add(float64(carts))
}

// differing are the carts that differ, and what Redis has of them.
func differing(found []pair) map[string]cart.Digest {
	var differ map[string]cart.Digest
	for _, p := range found {
		if p.drift() == "" {
			continue
		}
		if differ == nil {
			differ = map[string]cart.Digest{}
		}
		differ[p.user] = p.redis
	}
	return differ
}

// again looks at carts that differed when Redis had what first says, and heals those that still do. The error is for all
// of them; what failed of one goes into failed.
func (r *Reconciler) again(ctx context.Context, f *figures, first map[string]cart.Digest, failed map[string]error) error {
	second, err := r.look(ctx, slices.Collect(maps.Keys(first)), failed)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var healing errgroup.Group
	healing.SetLimit(healsAtOnce)
	for _, p := range second {
		if !p.still(first[p.user]) {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		healing.Go(func() error {
			if err := r.heal(ctx, f, p); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[p.user] = err
			}
			return nil
		})
	}
	_ = healing.Wait() // what failed is in failed
	return ctx.Err()
}

// look reads both sides, MongoDB first. Users whose shard can't be asked go into failed.
func (r *Reconciler) look(ctx context.Context, users []string, failed map[string]error) ([]pair, error) {
	documents, err := r.documents.find(ctx, users)
	if err != nil {
		return nil, err
	}
	return r.beside(ctx, users, documents, failed)
}

// beside reads what Redis has of users whose documents were read. Those whose shard can't be asked go into failed.
func (r *Reconciler) beside(ctx context.Context, users []string, documents []document, failed map[string]error) ([]pair, error) {
	byShard := make([][]int, r.Carts.Shards())
	for i, u := range users {
		shard := r.Carts.ShardOf(u)
		byShard[shard] = append(byShard[shard], i)
	}
	pairs := make([]pair, len(users))
	var mu sync.Mutex
	var asking errgroup.Group
	asking.SetLimit(questionsAtOnce)
	for shard, some := range byShard {
		if len(some) == 0 {
			continue
		}
		asking.Go(func() error {
			theirs := make([]string, len(some))
			for i, at := range some {
				theirs[i] = users[at]
			}
			digests, err := r.digests(ctx, shard, theirs)
			for i, d := range digests {
				at := some[i]
				pairs[at] = pair{users[at], d, documents[at]}
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				for _, u := range theirs[len(digests):] {
					failed[u] = err
				}
			}
			return nil
		})
	}
	_ = asking.Wait() // what failed is in failed
	if len(failed) > 0 {
		pairs = slices.DeleteFunc(pairs, func(p pair) bool { return p.user == "" })
	}
	return pairs, ctx.Err()
}

// digests returns those of the first users, and an error where they aren't all.
func (r *Reconciler) digests(ctx context.Context, shard int, users []string) (all []cart.Digest, err error) {
	for len(all) < len(users) {
		some, err := r.Carts.Digests(ctx, shard, users[len(all):])
		if err != nil {
			return all, err
		}
		if len(some) == 0 {
			return all, fmt.Errorf("shard %d answers nothing", shard)
		}
		all = append(all, some...)
	}
	return all, nil
}

// settle does what makes the two equal; errMoved says that it didn't.
func (r *Reconciler) settle(ctx context.Context, p pair) error {
	switch p.drift() {
	case Behind, Missing:
		return r.Sync(ctx, p.user)
	case Ahead, Orphan:
		return r.adopt(ctx, p)
	case Content:
		return r.replace(ctx, p.user, p.document)
	}
	return nil
}
