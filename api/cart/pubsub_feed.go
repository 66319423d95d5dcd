package cart

import (
	"context"
	"log/slog"
	"sync"
)

// Listener is told what a Feed learns. Its methods are called from the goroutine that reads the subscription: they must
// not wait for anything.
type Listener interface {
	// Changed delivers a notice to a user who is followed. Notices may be missing, and may come twice.
	Changed(user, payload string)
	// Subscribed says that the user's subscription stands again after it was lost: notices may be missing, whoever
	// shows this cart has to compare it.
	Subscribed(user string)
}

// Feed follows the changes of users through Redis pub/sub: over one connection, in a cluster over one for each shard
// with a user in it, for a command can't span slots. Connections that break are opened again, for as long as it takes.
type Feed struct {
	nodes    *nodes
	log      *slog.Logger
	listener Listener

	mu    sync.Mutex
	links map[int]*link // by shard in a cluster, else one
	fresh []*link       // not yet running
	more  chan struct{} // fresh has grown
}

// Feed returns a Feed that follows nobody yet.
func (s *Store) Feed(l Listener) *Feed {
	return &Feed{nodes: s.nodes, log: s.Log, listener: l, links: map[int]*link{}, more: make(chan struct{}, 1)}
}

// Run keeps the connections until ctx ends; before it runs, nothing is confirmed. It returns nil.
func (f *Feed) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		f.mu.Lock()
		fresh := f.fresh
		f.fresh = nil
		f.mu.Unlock()
		for _, l := range fresh {
			all.Go(func() { l.run(ctx) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-f.more:
		}
	}
}

// Follow begins to follow a user, who must not be followed already. It never waits: the channel closes once Redis has
// confirmed the subscription, from when on changes are delivered. That can take as long as Redis is away.
func (f *Feed) Follow(user string) (confirmed <-chan struct{}) {
	return f.link(f.nodes.shardOf(user)).follow(f.nodes.feed(user), user)
}

// Unfollow ends what Follow began, confirmed or not. A few late notices may still come.
func (f *Feed) Unfollow(user string) { f.link(f.nodes.shardOf(user)).unfollow(f.nodes.feed(user)) }

// link returns the one that a shard's channels belong to.
func (f *Feed) link(shard int) *link {
	which := 0
	if f.nodes.cluster != nil {
		which = shard
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.links[which]
	if l == nil {
		l = newLink(f.nodes, f.listener, f.log.With("link", which))
		f.links[which] = l
		f.fresh = append(f.fresh, l)
		wake(f.more)
	}
	return l
}

// wake makes sure that who waits on c goes on, now or the next time.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
