package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"golang.org/x/sync/errgroup"

	"cartstream/schemas"
)

const (
	// learnBooks is the most books of one call of Learn.
	learnBooks = 100
	// knownBooks of a shard are looked up at once.
	knownBooks = 300
	// newestBooks are remembered from shard to shard.
	newestBooks = 100_000
	// booksRest is how long a book's change may be on its way to the shards, and how far the clocks of those who change books may
	// be apart.
	booksRest = 30 * time.Second
)

// books is the catalogue in MongoDB.
type books struct{ collection *mongo.Collection }

func openBooks(db *mongo.Database) books {
	return books{db.Collection("books", options.Collection().
		SetReadPreference(readpref.Primary()).SetReadConcern(readconcern.Majority()))}
}

// shown are the fields that carts show, and the version.
var shown = bson.D{
	{Key: "title", Value: 1}, {Key: "unitPrice", Value: 1}, {Key: "currency", Value: 1}, {Key: "stock", Value: 1},
	{Key: "status", Value: 1}, {Key: "version", Value: 1},
}

func (b books) find(ctx context.Context, filter bson.D) ([]schemas.Book, error) {
	cursor, err := b.collection.Find(ctx, filter, options.Find().SetProjection(shown))
	if err != nil {
		return nil, fmt.Errorf("read books of MongoDB: %w", err)
	}
	var found []schemas.Book
	if err := cursor.All(ctx, &found); err != nil {
		return nil, fmt.Errorf("read books of MongoDB: %w", err)
	}
	return found, nil
}

// changedBooks tells every shard about the books that changed since it last did. What it can't tell is told by the next run.
func (r *Reconciler) changedBooks(ctx context.Context, f *figures) error {
	until := f.StartedAt.Add(-booksRest)
	if f.BooksFrom.IsZero() { // the first run ever; one over all carts knows the rest
		f.BooksFrom = until
		return nil
	}
	changed, err := r.books.find(ctx, bson.D{{Key: "changedAt", Value: bson.D{
		{Key: "$gte", Value: f.BooksFrom.Add(-booksRest)}, {Key: "$lt", Value: until},
	}}})
	if err != nil {
		return err
	}
	failed := newLeft()
	var shards errgroup.Group
	shards.SetLimit(shardsAtOnce)
	for shard := range r.Carts.Shards() {
		shards.Go(func() error {
			failed.add(unlessRecovering(r.tell(ctx, shard, changed))) // recovery has all facts compared
			return nil
		})
	}
	_ = shards.Wait() // what failed is in failed
	if err := failed.err(); err != nil {
		return err
	}
	f.BooksFrom = until
	return ctx.Err()
}

// tell tells a shard about books. Only what it didn't know, and what somebody would see, counts as drift.
func (r *Reconciler) tell(ctx context.Context, shard int, all []schemas.Book) error {
	for some := range slices.Chunk(all, learnBooks) {
		queued, err := r.Facts.Learn(ctx, shard, some)
		if err != nil {
			return err
		}
		if queued > 0 {
			r.meter.facts.Add(float64(queued))
			r.Log.Warn("a shard had older facts of books than MongoDB", "shard", shard, "books", queued)
		}
	}
	return nil
}

// someBooks compares some books that a shard knows; f.After is "<shard> <book>". newest are the versions that MongoDB had when
// an earlier shard was compared.
func (r *Reconciler) someBooks(ctx context.Context, f *figures, left *left, newest map[string]int64) (string, error) {
	first, after, _ := strings.Cut(f.After, " ")
	shard, err := strconv.Atoi(first)
	if err != nil || shard < 0 {
		shard, after = 0, ""
	}
	if shard >= r.Carts.Shards() {
		return "", nil
	}
	next := fmt.Sprintf("%d ", shard+1)
	known, more, err := r.Facts.Known(ctx, shard, after, knownBooks)
	if err != nil {
		left.add(unlessRecovering(err))
		return next, ctx.Err()
	}
	if more != "" {
		next = fmt.Sprintf("%d %s", shard, more)
	}
	if err := r.restraint.wait(ctx, len(known)); err != nil {
		return "", err
	}
	versions := make(map[string]int64, len(known))
	var ids []string
	for _, k := range known {
		if version, asked := newest[k.BookID]; !asked || version > k.Version {
			versions[k.BookID] = k.Version
			ids = append(ids, k.BookID)
		}
	}
	if len(ids) == 0 {
		return next, nil
	}
	found, err := r.books.find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}})
	if err != nil {
		return "", err
	}
	for _, b := range found {
		if len(newest) < newestBooks {
			newest[b.BookID] = b.Version
		}
	}
	newer := slices.DeleteFunc(found, func(b schemas.Book) bool { return b.Version <= versions[b.BookID] })
	if err := r.tell(ctx, shard, newer); err != nil {
		left.add(unlessRecovering(err))
		return fmt.Sprintf("%d ", shard+1), ctx.Err()
	}
	return next, nil
}
