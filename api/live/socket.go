package live

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/coder/websocket"

	"cartstream/api/cart"
)

const (
	// connectWithin bounds what a connecting client waits for Redis: away is known in under a second.
	connectWithin = 900 * time.Millisecond
	// readsAtOnce bounds how many carts are read at once for snapshots.
	readsAtOnce = 64
	// A cart that could not be read is read again after retryFirst; each failure in a row doubles that, up to retryMost.
	retryFirst = 100 * time.Millisecond
	retryMost  = 2 * time.Second
	// A client has to take each frame within writeWithin and a second more for each writeRate bytes, else it is cut off.
	writeWithin = 10 * time.Second
	writeRate   = 32 << 10
	// pongWithin is how long a client may take to answer a ping.
	pongWithin = 10 * time.Second
	// closeWithin is how long a client that sends something may take to send it all and to answer the close frame.
	closeWithin = 5 * time.Second
)

// reason why a socket closed, as metrics name it.
type reason string

const (
	left    reason = "client"
	slow    reason = "slow"
	dead    reason = "dead"
	expired reason = "expired"
	policy  reason = "policy"
	tooBig  reason = "too_big"
	drained reason = "drained"
)

// farewell is what the client is told. Reasons that aren't here leave no way to tell it anything.
var farewell = map[reason]struct {
	code websocket.StatusCode
	text string
}{
	expired: {4401, "token expired"},
	policy:  {websocket.StatusPolicyViolation, "clients send nothing"},
	tooBig:  {websocket.StatusMessageTooBig, "clients send nothing, least of all that much"},
	drained: {websocket.StatusGoingAway, "server is draining"},
}

// socket is one client's connection. Idle, it costs one goroutine, which reads.
type socket struct {
	gateway *Gateway
	watch   *watch
	conn    *websocket.Conn
	raw     net.Conn // below conn
	expiry  *time.Timer
	gone    chan struct{} // closed when nothing more can be sent

	// watch.mu guards these.
	backlog
	writing bool // a goroutine is
	pinging bool
	closing reason // "" while open
}

func newSocket(g *Gateway) *socket {
	return &socket{gateway: g, gone: make(chan struct{}), backlog: backlog{sent: nothing, loading: true}}
}

// open starts the upgraded socket with the frame of the cart that was read after it had joined.
func (s *socket) open(conn *websocket.Conn, raw net.Conn, first frame, expires time.Time) {
	s.gateway.metrics.open.Inc()
	s.watch.mu.Lock()
	s.conn, s.raw = conn, raw
	s.gateway.metrics.gap(s.loaded(first))
	if !expires.IsZero() {
		s.expiry = time.AfterFunc(time.Until(expires), func() { s.close(expired) })
	}
	s.wake()
	tooLate := s.closing
	s.watch.mu.Unlock()
	go s.read()
	s.gateway.mu.Lock()
	draining := s.gateway.draining
	s.gateway.mu.Unlock()
	switch { // a drain that began after the socket had joined found nothing to close
	case tooLate != "":
		s.cut(tooLate)
	case draining:
		s.close(drained)
	}
}

// read waits for the client to leave or to send what it must not, and cleans up. Control frames are answered meanwhile.
func (s *socket) read() {
	defer s.cleanUp()
	_, message, err := s.conn.Reader(context.Background())
	if err != nil {
		return
	}
	// How long it is decides what the client is told. The deadline is for the exchange of close frames too, in which
	// websocket reads what is left of the message without a bound of its own.
	_ = s.raw.SetReadDeadline(time.Now().Add(closeWithin))
	_, err = io.Copy(io.Discard, message)
	if errors.Is(err, websocket.ErrMessageTooBig) {
		s.goodbye(tooBig)
		return
	}
	s.goodbye(policy)
}

func (s *socket) cleanUp() {
	s.end(left)
	_ = s.conn.CloseNow()
	s.watch.mu.Lock()
	why, expiry := s.closing, s.expiry
	s.watch.mu.Unlock()
	if expiry != nil {
		expiry.Stop()
	}
	s.gateway.metrics.open.Dec()
	s.gateway.metrics.closes.WithLabelValues(string(why)).Inc()
	s.gateway.leave(s)
}

// end drops what waits and lets nothing more be sent. It reports whether why is the first reason.
func (s *socket) end(why reason) bool {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	if s.closing != "" {
		return false
	}
	s.closing = why
	s.frames, s.stale = nil, false
	close(s.gone)
	return true
}

// close tells the client why and waits for its answer, 10 seconds at most, without holding up the caller. It does nothing to
// a socket that isn't open or is closing.
func (s *socket) close(why reason) {
	s.watch.mu.Lock()
	open := s.conn != nil
	s.watch.mu.Unlock()
	if open {
		go s.goodbye(why)
	}
}

func (s *socket) goodbye(why reason) {
	if !s.end(why) {
		return
	}
	_ = s.conn.Close(farewell[why].code, farewell[why].text)
}

// cut closes the connection at once.
func (s *socket) cut(why reason) {
	s.end(why)
	s.watch.mu.Lock()
	raw := s.raw
	s.watch.mu.Unlock()
	if raw != nil {
		_ = raw.Close() // ends read, which cleans up
	}
}

// ping finds out whether the client is still there. It doesn't wait. A client that is being sent something shows that by
// taking it.
func (s *socket) ping() {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	if s.conn == nil || s.writing || s.pinging || s.closing != "" {
		return
	}
	s.pinging = true
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), pongWithin)
		defer cancel()
		err := s.conn.Ping(ctx)
		s.watch.mu.Lock()
		s.pinging = false
		busy := s.writing
		s.watch.mu.Unlock()
		if errors.Is(err, context.DeadlineExceeded) && !busy {
			s.cut(dead)
		}
	}()
}

// wake has a goroutine write what waits. It is called with watch.mu held.
func (s *socket) wake() {
	if s.writing || s.conn == nil || s.closing != "" || len(s.frames) == 0 && !s.stale {
		return
	}
	s.writing = true
	go s.write()
}

// write sends until nothing waits.
func (s *socket) write() {
	for {
		f, ok := s.next()
		if !ok {
			return
		}
		within := writeWithin + time.Duration(len(f.text)/writeRate)*time.Second
		timer := time.AfterFunc(within, func() { s.cut(slow) })
		err := s.conn.Write(context.Background(), websocket.MessageText, f.text)
		timer.Stop()
		if err != nil {
			s.cut(left)
			return
		}
		s.gateway.metrics.frames.WithLabelValues(string(f.kind)).Inc()
	}
}

// next returns the frame to send, and false, with writing unset, when there is none. Where the backlog is stale it reads
// the cart, for as long as it takes.
func (s *socket) next() (frame, bool) {
	failures := 0
	for {
		s.watch.mu.Lock()
		f, ok := s.take()
		read := !ok && s.stale && s.closing == ""
		if read {
			s.load()
		}
		s.writing = ok || read
		s.watch.mu.Unlock()
		if !read {
			return f, ok
		}
		view, err := s.reread()
		s.watch.mu.Lock()
		if err == nil {
			s.gateway.metrics.gap(s.loaded(snapshotFrame(view.Shown())))
		} else {
			s.collapse()
			s.loading = false
		}
		s.watch.mu.Unlock()
		if err != nil && !s.rest(&failures) {
			continue // closing: finds nothing to send
		}
	}
}

// reread reads the cart anew, not too many at once.
func (s *socket) reread() (cart.View, error) {
	select {
	case s.gateway.reading <- struct{}{}:
	case <-s.gone:
		return cart.View{}, net.ErrClosed
	}
	defer func() { <-s.gateway.reading }()
	return s.gateway.Carts.Get(context.Background(), s.watch.user) // bounded by the store
}

// rest waits before the cart is read again. It reports false when there is no use in that any more.
func (s *socket) rest(failures *int) bool {
	wait := min(retryFirst<<min(*failures, 10), retryMost)
	*failures++
	select {
	case <-s.gone:
		return false
	case <-time.After(wait/2 + rand.N(wait)): //nolint:gosec // spreads load, guards nothing
		return true
	}
}
