// Package reconcile compares carts between Redis and MongoDB, and books between MongoDB and what the shards know of them,
// and heals what differs: whatever went wrong unseen, it ends here.
package reconcile

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/mongo"
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
	// Whole returns the cart that a digest stands for, false where the digest is only a hash.
	Whole(user string, d cart.Digest) (schemas.Cart, bool)
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
	// atOnce is how many carts of a run over all are compared at once, fewer where their documents take pageBytes: few of
	// a shard would make each question to it dear.
	atOnce    = 2000
	pageBytes = 8 << 20
	// questionsAtOnce is how many shards are asked at the same time, so that they share pipelines.
	questionsAtOnce = 64
	// healsAtOnce is how many carts are healed at the same time, so that they share bulk writes.
	healsAtOnce = 1000
	// perSecond bounds how many carts are compared while Redis has callers, so that they notice nothing.
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

// Reconciler compares and heals. One run goes on at a time: a timer sees to that. Two at once would do the same work twice.
// Run, which compares what is suspected, is every process's own.
type Reconciler struct {
	Config
	documents documents
	books     books
	journal   journal
	meter     *meter
	pace      *rate.Limiter
	restraint *restraint
	page      int
	suspects  suspects
}

// New returns a Reconciler, which waits for nothing.
func New(c Config) *Reconciler {
	if c.LookAgainAfter == 0 {
		c.LookAgainAfter = lookAgainAfter
	}
	return &Reconciler{
		Config: c, documents: openDocuments(c.Database), books: openBooks(c.Database), journal: journal{c.Redis},
		meter: newMeter(c.Registerer), pace: rate.NewLimiter(perSecond, shardsAtOnce*perPage),
		restraint: newRestraint(c.Redis), page: atOnce,
	}
}
