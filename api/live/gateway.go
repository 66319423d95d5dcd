// Package live is the WebSocket gateway: it shows each connected client its user's cart, first whole, then change by
// change, in order and without a hole.
//
// Changes come through Redis pub/sub, which may lose them. So every socket knows which state its client has: what comes
// next is passed on, what is older is dropped, and where something is missing, the client gets the whole cart, read
// anew. Users are checked against Redis each 30 seconds, and whenever their subscription was lost for a while.
package live

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cartstream/api/cart"
	"cartstream/schemas/token"
)

// Carts is where the gateway reads whole carts. A cart.Store is one.
type Carts interface {
	// Get returns the user's cart, never older than any change that was published before the call.
	Get(ctx context.Context, user string) (cart.View, error)
}

// Feed is where changes come from. A cart.Feed is one; its comments say what each method has to guarantee.
type Feed interface {
	Follow(user string) (confirmed <-chan struct{})
	Unfollow(user string)
	Run(ctx context.Context) error
}

// Tokens tells whom a token speaks for and when it expires. A token.Verifier is one. Its errors go to Config.Problem as
// they are.
type Tokens interface {
	Verify(ctx context.Context, raw string) (token.Claims, error)
}

// Config is what a Gateway needs. Every field but Drain is required.
type Config struct {
	Carts Carts
	// Feed makes the gateway's subscriptions, which are to tell it what they learn.
	Feed   func(cart.Listener) Feed
	Tokens Tokens
	// AllowedOrigins are those besides the server's own from which browsers may connect, as scheme://host[:port].
	AllowedOrigins []string
	// Problem answers a request that was not upgraded.
	Problem func(w http.ResponseWriter, r *http.Request, err error)
	// Drain bounds how long sockets take to close once Run's context ended: 10 seconds where it is 0.
	Drain      time.Duration
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Gateway serves GET /v1/cart/live. It works while Run does.
type Gateway struct {
	Config
	feed    Feed
	metrics *metrics
	reading chan struct{} // one place for each cart being read

	mu       sync.Mutex
	draining bool
	watches  map[string]*watch
	visits   [visitSlots]map[*watch]struct{}
	due      []*watch      // to be compared with Redis
	more     chan struct{} // due has grown
	sockets  sync.WaitGroup
}

// New returns a Gateway whose metrics are registered.
func New(c Config) *Gateway {
	if c.Drain == 0 {
		c.Drain = 10 * time.Second
	}
	g := &Gateway{
		Config:  c,
		metrics: newMetrics(c.Registerer),
		reading: make(chan struct{}, readsAtOnce),
		watches: map[string]*watch{},
		more:    make(chan struct{}, 1),
	}
	for i := range g.visits {
		g.visits[i] = map[*watch]struct{}{}
	}
	g.feed = c.Feed(listener{g})
	return g
}

// Run keeps subscriptions, checks and pings going until ctx ends. Then it refuses new sockets and closes those there are
// with 1001, spread over the first half of Drain; what hasn't closed when Drain is over is cut off. It returns nil once
// all are gone.
func (g *Gateway) Run(ctx context.Context) error {
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	var parts sync.WaitGroup
	parts.Go(func() { _ = g.feed.Run(working) }) // returns nil
	parts.Go(func() { g.visit(working) })
	for range checkers {
		parts.Go(func() { g.check(working) })
	}
	<-ctx.Done()
	g.drain()
	stop()
	parts.Wait()
	return nil
}

func (g *Gateway) drain() {
	g.mu.Lock()
	g.draining = true
	open := make([]*socket, 0, len(g.watches))
	for _, w := range g.watches {
		open = append(open, w.all()...)
	}
	g.mu.Unlock()
	g.Log.Info("draining sockets", "open", len(open), "within", g.Drain)

	for _, s := range open {
		//nolint:gosec // spreads load, guards nothing
		time.AfterFunc(rand.N(g.Drain/2+1), func() { s.close(drained) })
	}
	gone := make(chan struct{})
	go func() {
		g.sockets.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-time.After(g.Drain):
		for _, s := range open {
			s.cut(drained)
		}
		<-gone
	}
}
