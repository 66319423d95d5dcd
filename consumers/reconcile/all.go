package reconcile

import (
	"context"
	"errors"
	"fmt"

	"cartstream/schemas"
)

// All compares all carts: those that MongoDB has, then those that Redis has and MongoDB doesn't; and what every shard knows of
// books. It returns how many carts it compared. A run that is ended, or fails, is gone on with where it stood. Carts of shards that are
// recovering are left out: their recovery reads MongoDB.
func (r *Reconciler) All(ctx context.Context) (int64, error) {
	f, err := r.journal.begin(ctx, All, givenUpAfter)
	if err != nil {
		return 0, err
	}
	left := newLeft()
	for _, part := range parts[f.part():] {
		if f.Part != part.name {
			f.Part, f.After = part.name, ""
		}
		for {
			next, err := part.step(r, ctx, f, left)
			if err != nil {
				return f.compared.Load(), fmt.Errorf("%s after %q: %w", f.Part, f.After, err)
			}
			f.After = next
			if err := r.journal.save(ctx, f); err != nil {
				return f.compared.Load(), err
			}
			if next == "" {
				break
			}
		}
	}
	if err := left.err(); err != nil {
		r.Log.Warn("not all carts could be compared or healed", "error", err)
	}
	return f.compared.Load(), r.journal.end(ctx, f)
}

// parts are what All goes over, in order. A step answers where the next one begins, "" at the part's end.
var parts = []struct {
	name string
	step func(r *Reconciler, ctx context.Context, f *figures, left *left) (next string, err error)
}{
	{"documents", (*Reconciler).someDocuments},
	{"carts", (*Reconciler).someCarts},
	{"books", (*Reconciler).someBooks},
}

func (r *Reconciler) someDocuments(ctx context.Context, f *figures, left *left) (string, error) {
	ids, err := r.documents.after(ctx, f.After, r.page)
	if err != nil || len(ids) == 0 {
		return "", err
	}
	if err := r.compareMost(ctx, f, ids, left); err != nil {
		return "", err
	}
	return ids[len(ids)-1], nil
}

func (r *Reconciler) someCarts(ctx context.Context, f *figures, left *left) (string, error) {
	users, next, err := r.Carts.Users(ctx, f.After, r.page)
	if err != nil {
		return "", err
	}
	if err := r.pace.WaitN(ctx, min(len(users), perPage)); err != nil {
		return "", err
	}
	missing, err := r.documents.missing(ctx, users)
	if err != nil {
		return "", err
	}
	return next, r.compareMost(ctx, f, missing, left)
}

// compareMost compares carts of any shards. It is an error if none of them could be because an engine is away.
func (r *Reconciler) compareMost(ctx context.Context, f *figures, users []string, left *left) error {
	if len(users) == 0 {
		return nil
	}
	failed, err := r.compare(ctx, f, users)
	if err != nil {
		return err
	}
	away := 0
	for u, failure := range failed {
		err = fmt.Errorf("the cart of %s: %w", u, failure)
		left.add(err)
		if errors.Is(failure, schemas.ErrUnavailable) {
			away++
		}
	}
	if away == len(users) {
		return err
	}
	return nil
}
