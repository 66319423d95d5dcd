package reconcile

import (
	"context"
	"fmt"
	"time"

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
	first, err := r.look(ctx, users, failed)
	if err != nil {
		return nil, err
	}
	f.compared.Add(int64(len(first)))
	r.meter.compared.Add(float64(len(first)))
	var suspects []string
	for user, p := range first {
		if p.drift() != "" {
			suspects = append(suspects, user)
		}
	}
	if len(suspects) == 0 {
		return failed, nil
	}
	select {
	case <-time.After(r.LookAgainAfter):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	second, err := r.look(ctx, suspects, failed)
	if err != nil {
		return nil, err
	}
	for user, p := range second {
		if !p.still(first[user]) {
			continue
		}
		if err := r.heal(ctx, f, user, p); err != nil {
			failed[user] = err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return failed, nil
}

// look reads both sides, MongoDB first. Users whose shard can't be asked go into failed.
func (r *Reconciler) look(ctx context.Context, users []string, failed map[string]error) (map[string]pair, error) {
	documents, err := r.documents.find(ctx, users)
	if err != nil {
		return nil, err
	}
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
	asking.SetLimit(2 * shardsAtOnce)
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
