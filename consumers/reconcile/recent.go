package reconcile

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sync/errgroup"

	"cartstream/schemas"
)

// Recent compares the carts that changed since they were last compared, but for the last half minute or more, and the
// books that changed since the last run. It returns how many carts it compared. A run that is ended, or fails, is gone on
// with by the next one: each shard knows which carts are left. The error says which shards or engine could not be asked; a
// cart that can't be healed is none, and is told in the log, in the metrics and again in each run.
func (r *Reconciler) Recent(ctx context.Context) (int64, error) {
	f, err := r.journal.begin(ctx, Recent, 0)
	if err != nil {
		return 0, err
	}
	failed := newLeft()
	var shards errgroup.Group
	shards.SetLimit(shardsAtOnce)
	for shard := range r.Carts.Shards() {
		shards.Go(func() error {
			failed.add(r.changed(ctx, f, shard))
			return nil
		})
	}
	_ = shards.Wait() // what failed is in failed
	if ctx.Err() != nil {
		return f.compared.Load(), ctx.Err()
	}
	failed.add(r.changedBooks(ctx, f))
	return f.compared.Load(), errors.Join(failed.err(), r.journal.end(ctx, f))
}

// changed compares the shard's changed carts, those that waited longest first. What can't be healed is left for the next
// run and keeps no other cart waiting. A shard that is recovering is left alone: recovery brings its carts back from MongoDB.
func (r *Reconciler) changed(ctx context.Context, f *figures, shard int) error {
	stuck := map[string]bool{}
	for {
		users, err := r.Carts.Changed(ctx, shard, f.StartedAt, min(r.page, perPage)+len(stuck))
		if err != nil {
			return unlessRecovering(err)
		}
		fresh := slices.DeleteFunc(users, func(u string) bool { return stuck[u] })
		if len(fresh) == 0 {
			return nil
		}
		failed, err := r.compare(ctx, f, fresh)
		if err != nil {
			return err
		}
		var away error
		done := slices.DeleteFunc(fresh, func(u string) bool {
			stuck[u] = failed[u] != nil
			if errors.Is(failed[u], schemas.ErrUnavailable) {
				away = failed[u]
			}
			return stuck[u]
		})
		if away != nil {
			return unlessRecovering(away)
		}
		if len(done) > 0 {
			if err := r.Carts.Compared(ctx, shard, f.StartedAt, done); err != nil {
				return err
			}
		}
		if err := r.journal.save(ctx, f); err != nil {
			return err
		}
	}
}
