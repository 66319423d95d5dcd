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
	first := suspects(found)
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

// suspects are the carts that differ, and what Redis has of them.
func suspects(found map[string]pair) map[string]cart.Digest {
	var differ map[string]cart.Digest
	for user, p := range found {
		if p.drift() == "" {
			continue
		}
		if differ == nil {
			differ = map[string]cart.Digest{}
		}
		differ[user] = p.redis
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
	for user, p := range second {
		if !p.still(first[user]) {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		healing.Go(func() error {
			if err := r.heal(ctx, f, user, p); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[user] = err
			}
			return nil
		})
	}
	_ = healing.Wait() // what failed is in failed
	return ctx.Err()
}

// look reads both sides, MongoDB first. Users whose shard can't be asked go into failed.
func (r *Reconciler) look(ctx context.Context, users []string, failed map[string]error) (map[string]pair, error) {
	documents, err := r.documents.find(ctx, users)
	if err != nil {
		return nil, err
	}
	return r.beside(ctx, users, documents, failed)
}

// beside reads what Redis has of users whose documents were read. Those whose shard can't be asked go into failed.
func (r *Reconciler) beside(ctx context.Context, users []string, documents map[string]document, failed map[string]error) (map[string]pair, error) {
	byShard := map[int][]string{}
	for _, u := range users {
		shard := r.Carts.ShardOf(u)
		byShard[shard] = append(byShard[shard], u)
	}
	type answer struct {
		users   []string
		digests []cart.Digest
		err     error
	}
	answers := make(chan answer, len(byShard))
	var asking errgroup.Group
	asking.SetLimit(questionsAtOnce)
	for shard, some := range byShard {
		asking.Go(func() error {
			digests, err := r.digests(ctx, shard, some)
			answers <- answer{some, digests, err}
			return nil
		})
	}
	_ = asking.Wait() // each answer has its error
	close(answers)
	pairs := make(map[string]pair, len(users))
	for a := range answers {
		for i, u := range a.users {
			if i < len(a.digests) {
				pairs[u] = pair{a.digests[i], documents[u]}
			} else {
				failed[u] = a.err
			}
		}
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
func (r *Reconciler) settle(ctx context.Context, user string, p pair) error {
	switch p.drift() {
	case Behind, Missing:
		return r.Sync(ctx, user)
	case Ahead, Orphan:
		return r.adopt(ctx, p)
	case Content:
		return r.replace(ctx, user, p.document)
	}
	return nil
}
