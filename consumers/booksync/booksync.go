// Package booksync brings every change of a book to the carts that hold it: it tells each shard about the book, and walks
// over the carts that hold it where that changes something that their owners see.
package booksync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/api/cart"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// Facts is where each shard of the carts keeps what it knows about books. A cart.Store is one.
type Facts interface {
	Shards() int
	// Learn tells the shard about at most 100 books and returns how many walks that queued. What the shard knows in a newer
	// version stays.
	Learn(ctx context.Context, shard int, books []schemas.Book) (queued int, err error)
}

// Catalogue is where books are looked up by their ids: MongoDB.
type Catalogue interface {
	// Books returns those of the books that there are, in no order, discontinued ones too.
	Books(ctx context.Context, ids []string) ([]schemas.Book, error)
}

const (
	// learnBooks is the most books of one call of Learn.
	learnBooks = 100
	// insistFor is for how long a shard that doesn't answer is asked again before the others go on without it.
	insistFor   = 300 * time.Millisecond
	insistEvery = 50 * time.Millisecond
	// lateAfter is how old a record's change may be for the shards' facts alone to tell that it is outdated. They forget those
	// of a book that nobody holds an hour after its newest change, by clocks that may differ.
	lateAfter = 30 * time.Minute
)

// Consumer tells every shard the newest version of each book that a batch changed. A shard that is being recovered is
// left out, since recovery asks for all its books to be compared, and so is one that doesn't answer, which is owed that
// comparison from then on; so neither holds up the others. Only where no shard answers does the batch wait.
//
// A change that is late, or comes from a dead letter, may be older than what shards have forgotten meanwhile: it waits for
// the catalogue, and shards are told the newer of the two.
//
// A record that was given up has its book looked up in the catalogue instead.
func Consumer(f *Fanout) runner.Consumer[schemas.BookChanged] {
	return runner.Consumer[schemas.BookChanged]{
		Group:  "booksync",
		Topics: []string{schemas.BookEvents},
		Decode: decode,
		Handle: f.handle,
		Heal:   f.heal,
	}
}

// decode also refuses a status that nobody knows: what such a book may be sold as can't be guessed.
func decode(value []byte) (schemas.BookChanged, error) {
	b, err := schemas.DecodeBookChanged(value)
	if err != nil {
		return b, err
	}
	switch b.Status {
	case schemas.Available, schemas.OutOfStock, schemas.Discontinued:
		return b, nil
	}
	return b, fmt.Errorf("%w: book %s has status %q", schemas.ErrMalformed, b.BookID, b.Status)
}

func (f *Fanout) handle(ctx context.Context, batch []runner.Record[schemas.BookChanged]) error {
	newest := make(map[string]runner.Record[schemas.BookChanged], len(batch))
	for _, rec := range batch {
		if one, seen := newest[rec.Value.BookID]; !seen || rec.Value.Version > one.Value.Version {
			newest[rec.Value.BookID] = rec
		}
	}
	books, late := make(map[string]schemas.Book, len(newest)), []string(nil)
	for id, rec := range newest {
		b := rec.Value
		books[id] = schemas.Book{
			BookID: id, Title: b.Title, Author: b.Author, UnitPrice: b.UnitPrice, Currency: b.Currency,
			Stock: b.Stock, Status: b.Status, Version: b.Version,
		}
		if runner.Replaying(ctx) != nil || time.Since(rec.Timestamp) > lateAfter || time.Since(b.OccurredAt.Time) > lateAfter {
			late = append(late, id)
		}
	}
	if err := f.overtake(ctx, books, late); err != nil {
		return err
	}
	return f.Learn(ctx, slices.Collect(maps.Values(books)))
}

// overtake replaces those of the late ones that the catalogue has in a newer version.
func (f *Fanout) overtake(ctx context.Context, books map[string]schemas.Book, late []string) error {
	found := make(map[string]schemas.Book, len(late))
	if err := f.find(ctx, late, found); err != nil {
		return fmt.Errorf("look up %d books whose changes are late: %w", len(late), err)
	}
	for id, b := range found {
		if b.Version > books[id].Version {
			books[id] = b
		}
	}
	return nil
}

// heal tells every shard what the catalogue has of the book of a record that nobody could read.
func (f *Fanout) heal(ctx context.Context, parked *kgo.Record) error {
	book := string(parked.Key)
	if !schemas.ValidID(book) {
		return nil // no book's
	}
	found, err := f.books.Books(ctx, []string{book})
	if err != nil {
		return fmt.Errorf("look up book %s: %w", book, err)
	}
	return f.Learn(ctx, found)
}

// Learn tells every shard about the books, as Consumer does: an error says that none of them answered, or that ctx ended.
func (f *Fanout) Learn(ctx context.Context, books []schemas.Book) error {
	if len(books) == 0 {
		return nil
	}
	var (
		teaching        sync.WaitGroup
		answers, queued atomic.Int64
		failure         atomic.Pointer[error]
	)
	for shard := range f.carts.Shards() {
		teaching.Go(func() {
			n, err := f.teach(ctx, shard, books)
			queued.Add(int64(n))
			if err == nil || recovering(err) {
				answers.Add(1)
			} else {
				failure.Store(&err)
			}
		})
	}
	teaching.Wait()
	if queued.Load() > 0 {
		f.versions.note(books)
		f.hurry()
	}
	switch err := failure.Load(); {
	case ctx.Err() != nil:
		return ctx.Err()
	case answers.Load() == 0:
		return fmt.Errorf("no shard learned of %d books: %w", len(books), *err)
	case err != nil:
		f.complain("shards that don't answer will be told about their books later", *err)
	}
	return nil
}

var errSilent = errors.New("the shard has not answered yet")

// teach tells one shard, and notes what it is owed where it doesn't answer for a while.
func (f *Fanout) teach(ctx context.Context, shard int, books []schemas.Book) (queued int, err error) {
	if f.debts.skip(shard) {
		return 0, errSilent
	}
	for until := time.Now().Add(insistFor); ; {
		n, err := f.teachOnce(ctx, shard, books)
		queued += n
		switch {
		case err == nil, recovering(err), ctx.Err() != nil:
			return queued, err
		case time.Now().After(until):
			f.debts.missed(shard)
			return queued, err
		}
		if err := sleep(ctx, insistEvery); err != nil {
			return queued, err
		}
	}
}

func (f *Fanout) teachOnce(ctx context.Context, shard int, books []schemas.Book) (queued int, err error) {
	for some := range slices.Chunk(books, learnBooks) {
		n, err := f.carts.Learn(ctx, shard, some)
		queued += n
		if err != nil {
			return queued, fmt.Errorf("tell shard %d about %d books: %w", shard, len(some), err)
		}
	}
	return queued, nil
}

// recovering says that the shard answered, and that recovery will have its books compared before long.
func recovering(err error) bool {
	var u *cart.Unavailable
	return errors.As(err, &u) && u.Recovering
}

// sleep returns ctx's error where that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
