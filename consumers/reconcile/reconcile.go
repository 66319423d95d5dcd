// Package reconcile compares carts between Redis and MongoDB, and books between MongoDB and what the shards know of them,
// and heals what differs: whatever went wrong unseen, it ends here.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// Carts are the carts in Redis. A cart.Store is one.
type Carts interface {
	Shards() int
	ShardOf(user string) int
	// Changed returns users whose carts changed, but for the last half minute or more, until Compared names them.
	Changed(ctx context.Context, shard int, now time.Time, limit int) ([]string, error)
	Compared(ctx context.Context, shard int, now time.Time, users []string) error
	// Users goes over all users who have a cart.
	Users(ctx context.Context, cursor string, limit int) (users []string, next string, err error)
	// Digests may answer for the first of the users only. It is an error for a shard that has not got its carts back.
	Digests(ctx context.Context, shard int, users []string) ([]cart.Digest, error)
	Get(ctx context.Context, user string) (cart.View, error)
	// Adopt makes the cart what a copy that is ahead holds, if it still is what the caller saw.
	Adopt(ctx context.Context, c schemas.Cart, saw cart.Digest) (bool, error)
}

// Facts are what the shards know of books. A cart.Store is one.
type Facts interface {
	// Learn tells a shard about at most 100 books, and queues walks over the carts that would look different.
	Learn(ctx context.Context, shard int, books []schemas.Book) (queued int, err error)
	// Known pages through the books that a shard knows, by id.
	Known(ctx context.Context, shard int, after string, limit int) (books []cart.KnownBook, next string, err error)
}

const (
	// perPage is how many carts are compared at once.
	perPage = 500
	// shardsAtOnce is in how many shards changed carts are compared at the same time.
	shardsAtOnce = 8
	// perSecond bounds how many carts are compared, so that Redis and MongoDB have time for everybody else.
	perSecond = 5000
	// lookAgainAfter is how long a change may be on its way from Redis to MongoDB before it counts as drift.
	lookAgainAfter = 5 * time.Second
	// givenUpAfter is how long a run over all carts may be interrupted: one that is resumed later says too little about
	// those that it had compared.
	givenUpAfter = 12 * time.Hour
)

// Config of a Reconciler.
type Config struct {
	Carts Carts
	Facts Facts
	// Database has the collections carts and books.
	Database *mongo.Database
	// Redis keeps how far a run came, outside of the shards.
	Redis redis.UniversalClient
	// Sync makes a document equal to the cart in Redis, unless it is as new already.
	Sync       func(ctx context.Context, user string) error
	Log        *slog.Logger
	Registerer prometheus.Registerer
	// LookAgainAfter is 5 s unless set.
	LookAgainAfter time.Duration
}

// Reconciler compares and heals. One runs at a time: a timer sees to that. Two at once would do the same work twice.
type Reconciler struct {
	Config
	documents documents
	books     books
	journal   journal
	meter     *meter
	pace      *rate.Limiter
	page      int
}

// New returns a Reconciler, which waits for nothing.
func New(c Config) *Reconciler {
	if c.LookAgainAfter == 0 {
		c.LookAgainAfter = lookAgainAfter
	}
	return &Reconciler{
		Config: c, documents: openDocuments(c.Database), books: openBooks(c.Database), journal: journal{c.Redis},
		meter: newMeter(c.Registerer), pace: rate.NewLimiter(perSecond, shardsAtOnce*perPage),
		page: perPage,
	}
}

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
		users, err := r.Carts.Changed(ctx, shard, f.StartedAt, r.page+len(stuck))
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

// unlessRecovering returns the error, unless it says that the shard is recovering.
func unlessRecovering(err error) error {
	var away *cart.Unavailable
	if errors.As(err, &away) && away.Recovering {
		return nil
	}
	return err
}
