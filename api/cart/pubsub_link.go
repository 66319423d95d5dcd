package cart

import (
	"log/slog"
	"sync"
	"sync/atomic"
)

// channelsAtOnce bounds one SUBSCRIBE: Redis serves nobody else while it works on it.
const channelsAtOnce = 500

// phase is how far a channel is with Redis. Only one command a channel is ever under way, so that a confirmation can't
// be mistaken for another one's.
type phase int

const (
	outside phase = iota
	entering
	inside
	leaving
)

// follow is one channel of a link.
type follow struct {
	user      string
	wanted    bool
	phase     phase
	confirmed chan struct{} // closed when Redis first confirms
	closed    bool          // confirmed is
}

// link is the channels that one subscription connection should have; sessions (see session.go) are the connections
// that it has, one after the other.
type link struct {
	nodes    *nodes
	listener Listener
	log      *slog.Logger

	mu      sync.Mutex
	follows map[string]*follow // by channel
	live    bool               // there is a session
	enter   []string           // channels that the session has yet to subscribe to
	leave   []string           // channels that the session has yet to leave
	work    chan struct{}      // follows, enter or leave has grown

	heard atomic.Int64 // answers and notices so far
}

func newLink(n *nodes, l Listener, log *slog.Logger) *link {
	return &link{nodes: n, listener: l, log: log, follows: map[string]*follow{}, work: make(chan struct{}, 1)}
}

func (l *link) follow(channel, user string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.follows[channel]
	if f == nil {
		f = &follow{user: user}
		l.follows[channel] = f
	}
	f.wanted, f.confirmed, f.closed = true, make(chan struct{}), false
	if l.live && f.phase == outside {
		l.command(channel, f, entering)
	}
	wake(l.work)
	return f.confirmed
}

func (l *link) unfollow(channel string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.follows[channel]
	if f == nil {
		return
	}
	f.wanted = false
	switch f.phase {
	case outside:
		delete(l.follows, channel)
	case inside:
		l.command(channel, f, leaving)
	case entering, leaving: // decided when Redis confirms
	}
}

// command is called with mu held.
func (l *link) command(channel string, f *follow, to phase) {
	f.phase = to
	if to == entering {
		l.enter = append(l.enter, channel)
	} else {
		l.leave = append(l.leave, channel)
	}
	wake(l.work)
}

// begin makes every channel one that the new session has to subscribe to.
func (l *link) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live = true
	for channel, f := range l.follows {
		l.command(channel, f, entering)
	}
}

// end forgets what the session that broke knew.
func (l *link) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live, l.enter, l.leave = false, nil, nil
	for channel, f := range l.follows {
		f.phase = outside
		if !f.wanted {
			delete(l.follows, channel)
		}
	}
}

// next takes a bounded number of channels to subscribe to and to leave.
func (l *link) next() (enter, leave []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	take := func(from *[]string) []string {
		n := min(len(*from), channelsAtOnce)
		some := (*from)[:n:n]
		if *from = (*from)[n:]; len(*from) == 0 {
			*from = nil
		}
		return some
	}
	return take(&l.enter), take(&l.leave)
}

// empty reports whether nobody is followed.
func (l *link) empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.follows) == 0
}

// entered takes note that Redis confirmed a subscription.
func (l *link) entered(channel string) {
	l.mu.Lock()
	f := l.follows[channel]
	if f == nil || f.phase != entering {
		l.mu.Unlock()
		return
	}
	f.phase = inside
	again := f.wanted && f.closed
	switch {
	case !f.wanted:
		l.command(channel, f, leaving)
	case !f.closed:
		f.closed = true
		close(f.confirmed)
	}
	l.mu.Unlock()
	if again {
		l.listener.Subscribed(f.user)
	}
}

// left takes note that a subscription ended. It reports whether that was asked for: in a cluster, Redis also ends the
// subscriptions of a slot that moved.
func (l *link) left(channel string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.follows[channel]
	switch {
	case f == nil:
		return true
	case f.phase != leaving:
		return false
	case f.wanted:
		l.command(channel, f, entering)
	default:
		delete(l.follows, channel)
	}
	return true
}

// changed passes a notice on to the listener.
func (l *link) changed(channel, payload string) {
	l.mu.Lock()
	f := l.follows[channel]
	l.mu.Unlock()
	if f != nil {
		l.listener.Changed(f.user, payload)
	}
}
