package book

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"cartstream/schemas"
)

// patience is how long a call waits for MongoDB, all its steps together. Time-outs of the client that are shorter hold.
const patience = 3 * time.Second

// Options of a Store.
type Options struct {
	Database *mongo.Database
	Producer Producer
	// Currency of every price that is written from now on.
	Currency string
	Logger   *slog.Logger
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
	// RepublishEvery is how often Run looks for books that stayed unpublished; 5 seconds if 0.
	RepublishEvery time.Duration
}

// Store is the catalogue. Its methods are safe for concurrent use and return *Unavailable after at most three seconds
// where MongoDB doesn't answer. A change goes on to its end when the context is cancelled.
type Store struct {
	books     *mongo.Collection
	currency  string
	cache     *Cache
	publisher *publisher
}

// Open returns the catalogue in the database. It waits for no engine.
func Open(o Options) *Store {
	// A version that was handed out or published must not be lost in a failover and used again for something else, so
	// only what a majority has is acknowledged, and only that is read.
	books := o.Database.Collection(collection, options.Collection().
		SetReadPreference(readpref.Primary()).
		SetReadConcern(readconcern.Majority()).
		SetWriteConcern(writeconcern.Majority()))
	m := newMetrics(o.Registerer)
	s := &Store{books: books, currency: o.Currency, publisher: newPublisher(o, books, m)}
	s.cache = newCache(s.Get, m)
	return s
}

// Run publishes what stayed unpublished, now and every few seconds, notes what Kafka has acknowledged, and creates the
// indexes, until ctx ends; then it waits a few seconds at most for Kafka's last answers. It returns nil, whatever is away
// meanwhile. One Run an instance of the API is enough; several repeat events at worst. Stop it after the last change.
func (s *Store) Run(ctx context.Context) error { return s.publisher.run(ctx) }

// Cache returns the cache in front of the catalogue. It learns of the changes made through this Store at once.
func (s *Store) Cache() *Cache { return s.cache }

// Get returns the book, also when it is discontinued, or ErrNotFound.
func (s *Store) Get(ctx context.Context, bookID string) (schemas.Book, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.find(ctx, bookID)
}

func (s *Store) find(ctx context.Context, bookID string) (schemas.Book, error) {
	var b schemas.Book
	err := s.books.FindOne(ctx, byID(bookID)).Decode(&b)
	switch {
	case errors.Is(err, mongo.ErrNoDocuments):
		return schemas.Book{}, fmt.Errorf("read book %s: %w", bookID, ErrNotFound)
	case err != nil:
		return schemas.Book{}, failure("read book "+bookID, "", err)
	}
	return b, nil
}

// Create adds a book and returns it at version 1. An empty bookID asks for a new one. It returns *Invalid, or ErrExists
// where the id is taken, by a discontinued book too. IfMatch is ignored.
func (s *Store) Create(ctx context.Context, r Request, bookID string, d Draft) (schemas.Book, error) {
	ctx, cancel := detached(ctx)
	defer cancel()
	faults := d.Validate()
	if bookID != "" {
		faults = append(checkID(bookID), faults...)
	}
	if err := invalid(faults); err != nil {
		return schemas.Book{}, err
	}
	now, seen := time.Now(), s.cache.era()
	b := d.on(schemas.Book{BookID: bookID, Currency: s.currency, Version: 1})
	if bookID == "" {
		b.BookID = newID(now)
	}
	doc := newDocument(b, schemas.BookCreated, schemas.At(now), r.TraceParent)
	_, err := s.books.InsertOne(ctx, doc)
	switch {
	case mongo.IsDuplicateKeyError(err):
		return schemas.Book{}, fmt.Errorf("create book %s: %w", b.BookID, ErrExists)
	case err != nil:
		return schemas.Book{}, failure("create book "+b.BookID, outcome(err), err)
	}
	s.changed(doc, seen, now)
	return b, nil
}

// Put replaces the book and returns it; a discontinued one is back then. It returns *Invalid, ErrNotFound or
// *VersionMismatch. Where nothing differs the version stays.
func (s *Store) Put(ctx context.Context, r Request, bookID string, d Draft) (schemas.Book, error) {
	if err := invalid(d.Validate()); err != nil {
		return schemas.Book{}, err
	}
	return s.change(ctx, r, bookID, schemas.BookUpdated, func(b schemas.Book) schemas.Book {
		b.Currency = s.currency
		return d.on(b)
	})
}

// Patch changes some fields of the book and returns it; a discontinued one stays so. It returns *Invalid, ErrNotFound
// or *VersionMismatch. Where nothing differs the version stays.
func (s *Store) Patch(ctx context.Context, r Request, bookID string, p Patch) (schemas.Book, error) {
	if err := invalid(p.Validate()); err != nil {
		return schemas.Book{}, err
	}
	return s.change(ctx, r, bookID, schemas.BookUpdated, func(b schemas.Book) schemas.Book {
		if p.UnitPrice != nil {
			b.Currency = s.currency
		}
		return p.on(b)
	})
}

// Delete marks the book as discontinued; it stays readable. Doing it again changes nothing. It returns ErrNotFound or
// *VersionMismatch.
func (s *Store) Delete(ctx context.Context, r Request, bookID string) error {
	_, err := s.change(ctx, r, bookID, schemas.BookDiscontinued, func(b schemas.Book) schemas.Book {
		b.Status = schemas.Discontinued
		return b
	})
	return err
}

// change edits the book under the version that was read, over again for as long as others are faster.
func (s *Store) change(
	ctx context.Context, r Request, bookID string, kind schemas.BookEventType, edit func(schemas.Book) schemas.Book,
) (schemas.Book, error) {
	ctx, cancel := detached(ctx)
	defer cancel()
	for attempt := 1; ; attempt++ {
		now, seen := time.Now(), s.cache.era()
		current, err := s.find(ctx, bookID)
		if err != nil {
			return schemas.Book{}, unapplied(err)
		}
		if err := r.IfMatch.check(current.Version); err != nil {
			return schemas.Book{}, fmt.Errorf("change book %s: %w", bookID, err)
		}
		next := edit(current)
		if next == current {
			return current, nil
		}
		next.Version++
		doc := newDocument(next, kind, schemas.At(now), r.TraceParent)
		result, err := s.books.UpdateOne(ctx, append(byID(bookID), bson.E{Key: "version", Value: current.Version}), doc.update())
		if err != nil {
			return schemas.Book{}, failure("change book "+bookID, outcome(err), err)
		}
		if result.MatchedCount == 1 {
			s.changed(doc, seen, now)
			return next, nil
		}
		pause(ctx, attempt)
	}
}

// changed tells Kafka and the cache of a change that MongoDB has.
func (s *Store) changed(d document, era uint64, since time.Time) {
	s.publisher.publish(d)
	s.cache.put(d.Book, era, since)
}

// detached lets a change end in peace when whoever asked for it leaves.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), patience)
}

// pause lets a faster writer of the same book finish, the longer the more of them there seem to be.
func pause(ctx context.Context, attempt int) {
	t := time.NewTimer(rand.N(time.Duration(min(attempt, 20)) * time.Millisecond)) //nolint:gosec // spreads load, guards nothing
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func byID(bookID string) bson.D { return bson.D{{Key: "_id", Value: bookID}} }
