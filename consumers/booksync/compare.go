package booksync

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// Comparisons are what it takes to compare the books that a shard knows with the catalogue. A cart.Store has it.
type Comparisons interface {
	// Known pages through the books that the shard knows, by id; next is "" at the end.
	Known(ctx context.Context, shard int, after string, limit int) (books []cart.KnownBook, next string, err error)
	// Refreshed ends a comparison that recovery asked for, unless it asked for another one meanwhile.
	Refreshed(ctx context.Context, shard int, refresh string) error
	// DropWalk forgets the walk over the holders of a book that the shard knows nothing about.
	DropWalk(ctx context.Context, shard int, book string) error
}

const (
	// knownBooks of a shard are looked up at once.
	knownBooks = 300
	// comparisons are made at once, so that shards that don't answer don't make the others wait one after the other.
	comparisons = 16
	// compareTimeout bounds what one shard's comparison may take.
	compareTimeout = 30 * time.Second
)

// compare makes the comparisons that are due and looks up what shards don't know, until ctx ends.
func (f *Fanout) compare(ctx context.Context) {
	for ctx.Err() == nil {
		wait := lookEvery
		if !f.paused.Load() {
			if err := errors.Join(f.resolve(ctx), f.settle(ctx)); err != nil && ctx.Err() == nil {
				f.complain("books can't be compared with the catalogue yet", err)
				if sleep(ctx, lookEvery) != nil { // whoever hurries can't help it
					return
				}
			}
		}
		await(ctx, f.comparing, wait)
	}
}

// settle makes the comparisons that are due. What it read of the catalogue for one shard does for the next: it is at least
// as new as what any of them missed.
func (f *Fanout) settle(ctx context.Context) error {
	seen := &found{books: map[string]schemas.Book{}}
	comparing, ctx := errgroup.WithContext(ctx)
	comparing.SetLimit(comparisons)
	var mu sync.Mutex
	var faults []error
	for _, one := range f.debts.due() {
		comparing.Go(func() error {
			if f.paused.Load() || ctx.Err() != nil {
				return ctx.Err()
			}
			err := f.settleOne(ctx, one, seen)
			if err == nil {
				f.debts.settle(one)
				f.meter.refreshed.WithLabelValues("done").Inc()
				return nil
			}
			f.meter.refreshed.WithLabelValues("failed").Inc()
			if errors.Is(err, errCatalogue) {
				return err // it is the same for all of them
			}
			if !recovering(err) && ctx.Err() == nil {
				f.debts.silence(one.shard) // until it answers a look
			}
			mu.Lock()
			defer mu.Unlock()
			faults = append(faults, fmt.Errorf("shard %d: %w", one.shard, err))
			return nil
		})
	}
	err := comparing.Wait()
	return errors.Join(append(faults, err)...)
}

var errCatalogue = errors.New("the catalogue can't be asked")

// settleOne tells the shard what is newer of the books that it knows.
func (f *Fanout) settleOne(ctx context.Context, one due, seen *found) error {
	ctx, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	for after := ""; ; {
		known, next, err := f.carts.Known(ctx, one.shard, after, knownBooks)
		if err != nil {
			return fmt.Errorf("page through its books: %w", err)
		}
		newer, err := f.newer(ctx, known, seen)
		if err != nil {
			return err
		}
		if err := f.tell(ctx, one.shard, newer); err != nil {
			return err
		}
		if after = next; after == "" {
			break
		}
	}
	if one.asked == "" {
		return nil
	}
	if err := f.carts.Refreshed(ctx, one.shard, one.asked); err != nil {
		return fmt.Errorf("end its refresh: %w", err)
	}
	f.hurry() // walks waited for it
	return nil
}

// found is what was read of the catalogue. Each book is looked up once.
type found struct {
	mu    sync.Mutex
	books map[string]schemas.Book
}

// newer returns those of the books that the catalogue has in a newer version.
func (f *Fanout) newer(ctx context.Context, known []cart.KnownBook, seen *found) (newer []schemas.Book, err error) {
	seen.mu.Lock()
	defer seen.mu.Unlock()
	var missing []string
	for _, k := range known {
		if _, ok := seen.books[k.BookID]; !ok {
			missing = append(missing, k.BookID)
		}
	}
	if err := f.find(ctx, missing, seen.books); err != nil {
		return nil, err
	}
	for _, k := range known {
		if b, ok := seen.books[k.BookID]; ok && b.Version > k.Version {
			newer = append(newer, b)
		}
	}
	return newer, nil
}

func (f *Fanout) find(ctx context.Context, ids []string, into map[string]schemas.Book) error {
	for some := range slices.Chunk(ids, knownBooks) {
		found, err := f.books.Books(ctx, some)
		if err != nil {
			return fmt.Errorf("%w: %w", errCatalogue, err)
		}
		for _, b := range found {
			into[b.BookID] = b
		}
	}
	return nil
}

// tell tells one shard about books, and has the walks begin that this queued.
func (f *Fanout) tell(ctx context.Context, shard int, books []schemas.Book) error {
	queued, err := f.teachOnce(ctx, shard, books)
	if queued > 0 {
		f.versions.note(books)
		f.hurry()
	}
	return err
}

// resolve looks up the books that walks wait for in shards that know nothing about them. Where the catalogue doesn't
// either, the walk is dropped.
func (f *Fanout) resolve(ctx context.Context) error {
	asked := f.unknown.take()
	ids := map[string]struct{}{}
	for _, books := range asked {
		for _, book := range books {
			ids[book] = struct{}{}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	found, all := map[string]schemas.Book{}, make([]string, 0, len(ids))
	for id := range ids {
		all = append(all, id)
	}
	if err := f.find(ctx, all, found); err != nil {
		return err // the walks are still there, and ask again
	}
	var faults []error
	for shard, books := range asked {
		faults = append(faults, f.answer(ctx, shard, books, found))
	}
	return errors.Join(faults...)
}

func (f *Fanout) answer(ctx context.Context, shard int, asked []string, found map[string]schemas.Book) error {
	var known []schemas.Book
	var faults []error
	for _, id := range asked {
		if b, ok := found[id]; ok {
			known = append(known, b)
		} else if err := f.carts.DropWalk(ctx, shard, id); err != nil {
			faults = append(faults, fmt.Errorf("drop the walk of %s in shard %d: %w", id, shard, err))
		} else {
			f.log.Warn("carts hold a book that the catalogue never had", "book", id, "shard", shard)
		}
	}
	faults = append(faults, f.tell(ctx, shard, known))
	f.hurry()
	return errors.Join(faults...)
}

// unknown are the books that shards have a walk for and no facts.
type unknown struct {
	mu    sync.Mutex
	books map[int]map[string]struct{}
}

func newUnknown() *unknown { return &unknown{books: map[int]map[string]struct{}{}} }

func (u *unknown) add(shard int, book string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.books[shard] == nil {
		u.books[shard] = map[string]struct{}{}
	}
	u.books[shard][book] = struct{}{}
}

// take returns all of them, by shard, and forgets them.
func (u *unknown) take() map[int][]string {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := make(map[int][]string, len(u.books))
	for shard, books := range u.books {
		for book := range books {
			all[shard] = append(all[shard], book)
		}
	}
	clear(u.books)
	return all
}
