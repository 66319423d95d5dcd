package reconcile

import (
	"context"
	"fmt"
	"slices"
)

// All compares all carts: those that MongoDB has, then those that Redis has and MongoDB doesn't; and what every shard knows of
// books. It returns how many carts it compared. A run that is ended, or fails, is gone on with where it stood. Carts of shards that are
// recovering are left out: their recovery reads MongoDB.
func (r *Reconciler) All(ctx context.Context) (int64, error) {
	f, err := r.journal.begin(ctx, All, givenUpAfter)
	if err != nil {
		return 0, err
	}
	n, err := r.documents.collection.EstimatedDocumentCount(ctx)
	if err != nil {
		return f.compared.Load(), fmt.Errorf("count carts of MongoDB: %w", err)
	}
	one := &run{Reconciler: r, f: f, left: newLeft(), stored: newStored(n)}
	for _, part := range parts[f.part():] {
		if f.Part != part.name {
			f.Part, f.After = part.name, ""
		}
		if err := part.run(one, ctx); err != nil {
			return f.compared.Load(), fmt.Errorf("%s after %q: %w", f.Part, f.After, err)
		}
	}
	if err := one.left.err(); err != nil {
		r.Log.Warn("not all carts could be compared or healed", "error", err)
	}
	return f.compared.Load(), r.journal.end(ctx, f)
}

// run is one over all carts.
type run struct {
	*Reconciler
	f      *figures
	left   *left
	stored *stored // who has a document, of those that this process has come across
}

// parts are what a run goes over, in order. Each begins where the figures say that it stands.
var parts = []struct {
	name string
	run  func(r *run, ctx context.Context) error
}{
	{"documents", (*run).compareDocuments},
	{"carts", (*run).compareCarts},
	{"books", (*run).compareBooks},
}

// compareDocuments compares every document with its cart. The next pages are read while one is compared.
func (r *run) compareDocuments(ctx context.Context) error {
	w := r.walk()
	defer w.end()
	reading, stop := context.WithCancel(ctx)
	pages := make(chan page, pagesAhead)
	go r.documents.pages(reading, r.f.After, r.page, pages)
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
		if len(p.users) == 0 {
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
		for _, u := range p.users {
			r.stored.add(u)
		}
		if err := w.page(ctx, len(p.users), found, failed, p.users[len(p.users)-1]); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return w.settle(ctx, true)
}

// compareCarts looks for carts without a document. MongoDB is asked about those that the run hasn't come across.
func (r *run) compareCarts(ctx context.Context) error {
	w := r.walk()
	defer w.end()
	for cursor := r.f.After; ; {
		users, next, err := r.Carts.Users(ctx, cursor, r.page)
		if err != nil {
			return err
		}
		if err := r.restraint.wait(ctx, len(users)); err != nil {
			return err
		}
		missing, err := r.documents.missing(ctx, slices.DeleteFunc(users, r.stored.has))
		if err != nil {
			return err
		}
		failed, found := map[string]error{}, []pair(nil)
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

// compareBooks compares what every shard knows of every book.
func (r *run) compareBooks(ctx context.Context) error {
	newest := map[string]int64{}
	for {
		next, err := r.someBooks(ctx, r.f, r.left, newest)
		if err != nil {
			return err
		}
		r.f.After = next
		if err := r.journal.save(ctx, r.f); err != nil || next == "" {
			return err
		}
	}
}
