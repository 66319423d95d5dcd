package cart

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Options of a Store.
type Options struct {
	// Redis as schemas/env gives it: without retries of the client's own.
	Redis *redis.UniversalOptions
	// Shards is fixed once data is written.
	Shards   int
	Currency string
	Limits   Limits
	// Catalogue tells about books that a shard doesn't know. It may be nil where carts are only read.
	Catalogue Catalogue
	// KeepAnswers is how long a keyed request's answer is kept.
	KeepAnswers time.Duration
	// RemindAfter is how long a cart is left alone before its user is reminded: the idle index keeps time in parts of it.
	// A week if 0.
	RemindAfter time.Duration
	// MemoryLimit is the share of a node's memory from which on it takes no changes; 0.9 if 0. Run watches it.
	MemoryLimit float64
	// AckKafka answers a mutation only once Kafka has its event.
	AckKafka bool
	Log      *slog.Logger
}

// Restorer brings back one cart of a shard that lost its data, under the generation that was asked about it. It returns
// an error while it can't.
type Restorer interface {
	Restore(ctx context.Context, user string, g Generation) error
}

// Store is the carts in Redis. It may be used by any number of goroutines.
type Store struct {
	Options
	nodes    *nodes
	blocking *nodes // connections that wait in XREAD
	restorer Restorer

	shards  []shard
	sets    sync.Map // generation → *loaded
	doors   sync.Map // *redis.Client → *door
	opening sync.Mutex
	unready chan struct{}
	closed  chan struct{}
	closing sync.Once
	agreed  atomic.Bool // on the number of shards
	full    fullNodes
	relayed *positions
}

// shard is what this process knows about one shard.
type shard struct {
	current atomic.Pointer[loaded] // nil: not known, or recovering
	whole   atomic.Pointer[loaded] // a generation under which the shard was seen to have all its carts
	looking sync.Mutex
	failure error // of the last look, in vain
	failed  time.Time
}

// Open returns a Store. It never waits for Redis: until Redis answers, every call is Unavailable.
func Open(o Options) (*Store, error) {
	if o.Shards < 1 || o.Shards > slots {
		return nil, fmt.Errorf("%d shards: 1 to %d", o.Shards, slots)
	}
	l := newLayout(o.Shards)
	waiting := *o.Redis
	waiting.PoolSize = o.Shards + 8
	waiting.ReadTimeout += longestBlock + readMargin
	s := &Store{
		Options:  o,
		nodes:    openNodes(o.Redis, l),
		blocking: openNodes(&waiting, l),
		shards:   make([]shard, o.Shards),
		unready:  make(chan struct{}, 1),
		closed:   make(chan struct{}),
		relayed:  newPositions(o.Shards),
	}
	return s, nil
}

// RestoreWith says who brings back the carts of a lost shard. Without one they stay unavailable. It is called before
// the first use.
func (s *Store) RestoreWith(r Restorer) { s.restorer = r }

// Close ends every call that waits and closes the connections. Closing again does nothing.
func (s *Store) Close() (err error) {
	s.closing.Do(func() {
		close(s.closed)
		err = errors.Join(s.nodes.close(), s.blocking.close())
	})
	return err
}

// run calls one script of the shard's generation. It sends again only what certainly was not executed: after a
// redirection, and after the shard's generation was looked up anew. It returns the generation that answered. The error
// says what became of the call (see applied); errFenced is among its causes where the shard is recovering.
func (s *Store) run(ctx context.Context, shard int, which script, keys []string, argv ...any) (*loaded, any, error) {
	return s.runUnder(ctx, nil, shard, which, keys, argv...)
}

// errRaised: the shard has another generation than the one that a call was meant for.
var errRaised = errors.New("another generation")

// runUnder is run for what may be called under one generation alone, unless that is nil. errRaised says that the shard has
// another; the call didn't reach that.
func (s *Store) runUnder(ctx context.Context, under *loaded, shard int, which script, keys []string, argv ...any) (*loaded, any, error) {
	const attempts = 3
	var last error
	for range attempts {
		l, err := s.look(ctx, shard)
		if err == nil && under != nil && l != under {
			err = errRaised
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errNotSent, err)
		}
		client, err := s.nodes.node(ctx, shard)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %w", errNotSent, err)
		}
		if which.grows() && s.full.has(client) {
			return nil, nil, fmt.Errorf("%w: %w", errNotSent, errFull)
		}
		args := make([]any, 0, 3+len(keys)+len(argv))
		args = append(args, "EVALSHA", l.sha[which], len(keys))
		for _, k := range keys {
			args = append(args, k)
		}
		answer, err := s.door(client).do(ctx, append(args, argv...))
		switch {
		case err == nil && answer == "fenced", redis.HasErrorPrefix(err, "NOSCRIPT"):
			s.forget(shard, l)
			last = errFenced
		case s.nodes.moved(ctx, err):
			last = err
		default:
			return l, answer, err
		}
	}
	return nil, nil, last
}

func (s *Store) door(client *redis.Client) *door {
	if d, ok := s.doors.Load(client); ok {
		return d.(*door) //nolint:forcetypeassert // doors holds nothing else
	}
	s.opening.Lock() // two doors for one node would only cost goroutines, but those stay
	defer s.opening.Unlock()
	if d, ok := s.doors.Load(client); ok {
		return d.(*door) //nolint:forcetypeassert // see above
	}
	d := openDoor(client, s.closed)
	s.doors.Store(client, d)
	return d
}

// unavailable wraps what kept a call from being answered.
func unavailable(what Applied, err error) error {
	return &Unavailable{Applied: what, RetryAfter: time.Second, Recovering: errors.Is(err, errFenced), Err: err}
}

// Get returns the user's cart. A user without one has an empty cart of version 0. The error is an *Unavailable, or says
// that what Redis holds can't be read.
func (s *Store) Get(ctx context.Context, user string) (View, error) {
	if v, ok, err := s.read(ctx, user); ok || err != nil {
		return v, err
	}
	generation, fields, err := s.fields(ctx, user)
	if err != nil {
		return View{}, err
	}
	c, err := readCart(user, s.Currency, fields)
	if err != nil {
		return View{}, err
	}
	return View{Cart: c, Generation: generation}, nil
}

// fields returns what the user's cart holds, and the shard's generation. The error is an *Unavailable.
func (s *Store) fields(ctx context.Context, user string) (generation int64, fields []any, err error) {
	shard := s.nodes.shardOf(user)
	keys := []string{s.nodes.generation(shard), s.nodes.cart(shard, user)}
	for range 2 {
		generation, answer, err := s.run(ctx, shard, scriptRead, keys)
		if err != nil {
			return 0, nil, unavailable("", fmt.Errorf("read the cart of %s: %w", user, err))
		}
		if fields, ok := answer.([]any); ok {
			return generation.Number, fields, nil
		}
		if err := s.restore(ctx, user, generation.Generation); err != nil { // it answered "restore"
			return 0, nil, err
		}
	}
	return 0, nil, unavailable("", fmt.Errorf("read the cart of %s: %w", user, errFenced))
}

// ErrLost is in the chain of an *Unavailable that says that the cart's shard lost its data and that nobody in this process
// brings the cart back. What MongoDB has is the newest that there is of it.
var ErrLost = errors.New("lost, and no one here restores carts")

// restore asks for a cart that its shard lost.
func (s *Store) restore(ctx context.Context, user string, g Generation) error {
	err := ErrLost
	if s.restorer != nil {
		err = s.restorer.Restore(ctx, user, g)
	}
	if err != nil {
		return &Unavailable{Applied: NotApplied, RetryAfter: time.Second, Recovering: true,
			Err: fmt.Errorf("restore the cart of %s: %w", user, err)}
	}
	return nil
}

// split takes the first word off a script's answer.
func split(answer any) (word, rest string) {
	text, _ := answer.(string)
	word, rest, _ = strings.Cut(text, " ")
	return word, rest
}

// offer returns the shard's generation and the facts that are known under it without waiting, "" for none. Under a later
// one they may be older than what that has seen.
func (s *Store) offer(ctx context.Context, shard int, book string) (*loaded, string, error) {
	l, err := s.look(ctx, shard)
	if err != nil || s.Catalogue == nil || book == "" {
		return l, "", err
	}
	if b, ok := s.Catalogue.Cached(book); ok {
		return l, facts(b), nil
	}
	return l, "", nil
}
