package live

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"cartstream/api/cart"
)

// ServeHTTP implements http.Handler. It returns once the socket is open and keeps nothing of the request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := g.connect(w, r); err != nil {
		g.Problem(w, r, err)
	}
}

// errDraining: this instance is about to end; another one will serve.
var errDraining = errors.New("draining")

// connect opens a socket or says why not, in which case nothing was written. It subscribes first and then reads the
// cart, so that no change can fall between the two; and before the upgrade, so that a Redis that is away is a 503.
func (g *Gateway) connect(w http.ResponseWriter, r *http.Request) error {
	if !g.allowed(r) {
		return fmt.Errorf("%w: %q", ErrOrigin, r.Header.Get("Origin"))
	}
	raw := offered(r.Header)
	if raw == "" {
		return ErrUnauthorized
	}
	who, err := g.Tokens.Verify(r.Context(), raw)
	if err != nil {
		return err
	}
	if err := handshake(r); err != nil {
		return err
	}
	s := newSocket(g)
	if err := g.join(s, who.User); err != nil {
		return err
	}
	view, err := s.begin(r.Context())
	if err != nil {
		g.leave(s)
		return err
	}
	conn, below, err := accept(w, r)
	if err != nil { // too late for a problem: Accept has answered
		g.leave(s)
		g.Log.Warn("websocket not opened", "user", who.User, "error", err)
		return nil
	}
	first := snapshotFrame(view.Shown())
	if has, ok := since(r.URL); ok && has == first.at {
		first = currentFrame(has)
	}
	s.open(conn, below, first, who.Expires)
	return nil
}

// begin waits until the user is subscribed, then reads the cart.
func (s *socket) begin(ctx context.Context) (cart.View, error) {
	ctx, cancel := context.WithTimeout(ctx, connectWithin)
	defer cancel()
	select {
	case <-s.watch.confirmed:
	case <-ctx.Done():
		return cart.View{}, &cart.Unavailable{RetryAfter: time.Second, Err: fmt.Errorf("subscribe %s: %w", s.watch.user, ctx.Err())}
	}
	return s.gateway.Carts.Get(ctx, s.watch.user)
}

// join makes the socket one of the user's, who is followed from now on.
func (g *Gateway) join(s *socket, user string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining {
		return &cart.Unavailable{RetryAfter: time.Second, Err: errDraining}
	}
	w := g.watches[user]
	if w == nil {
		w = newWatch(user)
		g.watches[user] = w
		g.visits[w.slot][w] = struct{}{}
		w.confirmed = g.feed.Follow(user)
	}
	s.watch = w
	w.add(s)
	g.sockets.Add(1)
	return nil
}

// leave takes a socket from its user, who is followed no longer when it was the last one.
func (g *Gateway) leave(s *socket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := s.watch
	if w.remove(s) == 0 {
		delete(g.watches, w.user)
		delete(g.visits[w.slot], w)
		g.feed.Unfollow(w.user)
	}
	g.sockets.Done()
}
