package reconcile

import (
	"context"
	"fmt"
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
		if err := part.run(r, ctx, f, left); err != nil {
			return f.compared.Load(), fmt.Errorf("%s after %q: %w", f.Part, f.After, err)
		}
	}
	if err := left.err(); err != nil {
		r.Log.Warn("not all carts could be compared or healed", "error", err)
	}
	return f.compared.Load(), r.journal.end(ctx, f)
}

// parts are what All goes over, in order. Each begins where the figures say that it stands.
var parts = []struct {
	name string
	run  func(r *Reconciler, ctx context.Context, f *figures, left *left) error
}{
	{"documents", (*Reconciler).allDocuments},
	{"carts", (*Reconciler).allCarts},
	{"books", (*Reconciler).allBooks},
}

// allDocuments compares every document with its cart. The next page is read while one is compared.
func (r *Reconciler) allDocuments(ctx context.Context, f *figures, left *left) error {
	w := &walk{Reconciler: r, f: f, left: left}
	reading, stop := context.WithCancel(ctx)
	pages := make(chan documentsPage)
	go func() {
		defer close(pages)
		for after := f.After; ; {
			p := r.documents.page(reading, after, r.page)
			select {
			case pages <- p:
			case <-reading.Done():
				return
			}
			if p.err != nil || p.last == "" {
				return
			}
			after = p.last
		}
	}()
	defer func() {
		stop()
		for range pages { // it has ended
			continue
		}
	}()
	for p := range pages {
		if p.err != nil {
			return p.err
		}
		if p.last == "" {
			break
		}
		if err := r.restraint.wait(ctx, len(p.users)); err != nil {
			return err
		}
		failed := map[string]error{}
		found, err := r.beside(ctx, p.users, p.documents, failed)
		if err != nil {
			return err
		}
		if err := w.page(ctx, len(p.users), found, failed, p.last); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return w.settle(ctx, true)
}

// allCarts looks for carts without a document.
func (r *Reconciler) allCarts(ctx context.Context, f *figures, left *left) error {
	w := &walk{Reconciler: r, f: f, left: left}
	for cursor := f.After; ; {
		users, next, err := r.Carts.Users(ctx, cursor, r.page)
		if err != nil {
			return err
		}
		if err := r.restraint.wait(ctx, len(users)); err != nil {
			return err
		}
		missing, err := r.documents.missing(ctx, users)
		if err != nil {
			return err
		}
		failed, found := map[string]error{}, map[string]pair{}
		if len(missing) > 0 {
			if found, err = r.look(ctx, missing, failed); err != nil {
				return err
			}
		}
		if err := w.page(ctx, len(missing), found, failed, next); err != nil {
			return err
		}
		if next == "" {
			return w.settle(ctx, true)
		}
		cursor = next
	}
}

// allBooks compares what every shard knows of every book.
func (r *Reconciler) allBooks(ctx context.Context, f *figures, left *left) error {
	for {
		next, err := r.someBooks(ctx, f, left)
		if err != nil {
			return err
		}
		f.After = next
		if err := r.journal.save(ctx, f); err != nil || next == "" {
			return err
		}
	}
}
