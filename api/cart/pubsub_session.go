package cart

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// silence is how long a connection may say nothing before it is asked whether it lives, and then again before it
	// counts as dead.
	silence = 10 * time.Second
	// A connection that broke is opened again after relinkAfter; each failure in a row doubles that, up to relinkAtMost.
	relinkAfter  = 50 * time.Millisecond
	relinkAtMost = 2 * time.Second
)

var (
	errSilent = errors.New("redis fell silent")
	errMoved  = errors.New("redis ended a subscription: its slot moved")
)

// spent is a context that is over. go-redis dials a new connection by itself, and subscribes it to everything in one
// command, when it finds the old one broken; a context that is over lets it use the connection that it has but not dial.
// So a session is one connection, and a lost one can't go unnoticed.
var spent = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// run keeps a session while there are channels, until ctx ends.
func (l *link) run(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		if l.empty() {
			select {
			case <-ctx.Done():
			case <-l.work:
			}
			continue
		}
		before := l.heard.Load()
		err := l.hold(ctx)
		if ctx.Err() != nil {
			return
		}
		if l.heard.Load() > before {
			failures = 0
		}
		if err == nil {
			continue
		}
		if !l.nodes.moved(ctx, err) && errors.Is(err, errMoved) && l.nodes.cluster != nil {
			l.nodes.cluster.ReloadState(ctx)
		}
		wait := min(relinkAfter<<min(failures, 10), relinkAtMost)
		wait = wait/2 + rand.N(wait) //nolint:gosec // spreads load, guards nothing
		failures++
		l.log.Warn("subscription to redis lost", "error", err, "retry_in", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// hold opens one connection, subscribes to every channel and keeps up with what is wanted, until the connection breaks
// or ctx ends. It says why, nil if there was nothing to subscribe to.
func (l *link) hold(ctx context.Context) error {
	s := session{link: l}
	if l.nodes.cluster != nil {
		s.pubsub = l.nodes.cluster.SSubscribe(ctx)
	} else {
		s.pubsub = l.nodes.single.Subscribe(ctx)
	}
	l.begin()
	defer l.end()
	defer s.pubsub.Close() //nolint:errcheck // it is over in any case
	if l.empty() {
		return nil
	}
	if err := s.command(ctx); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	broken := make(chan error, 1)
	go func() { broken <- s.read() }()
	err := s.write(ctx, broken)
	_ = s.pubsub.Close() // ends read
	<-broken
	return err
}

// session is one connection.
type session struct {
	*link
	pubsub *redis.PubSub
}

// write sends what is wanted, and asks a silent connection whether it lives. broken gives why read ended, and is left
// full for who waits for that.
func (s session) write(ctx context.Context, broken chan error) error {
	ticks := time.NewTicker(silence)
	defer ticks.Stop()
	heard, asked := s.heard.Load(), false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-broken:
			broken <- err
			return err
		case <-s.work:
			if err := s.command(spent); err != nil {
				return fmt.Errorf("subscribe: %w", err)
			}
		case <-ticks.C:
			now := s.heard.Load()
			switch {
			case now != heard:
				heard, asked = now, false
			case asked:
				return errSilent
			default:
				if err := s.pubsub.Ping(spent); err != nil {
					return fmt.Errorf("ping: %w", err)
				}
				asked = true
			}
		}
	}
}

// command sends every command that waits. Only the first of a session may be given a context that dials.
func (s session) command(ctx context.Context) error {
	subscribe, unsubscribe := s.pubsub.Subscribe, s.pubsub.Unsubscribe
	if s.nodes.cluster != nil {
		subscribe, unsubscribe = s.pubsub.SSubscribe, s.pubsub.SUnsubscribe
	}
	for {
		enter, leave := s.next()
		if len(enter) == 0 && len(leave) == 0 {
			return nil
		}
		if len(enter) > 0 {
			if err := subscribe(ctx, enter...); err != nil {
				return err
			}
			ctx = spent
		}
		if len(leave) > 0 {
			if err := unsubscribe(spent, leave...); err != nil {
				return err
			}
		}
	}
}

// read takes what comes until the connection breaks.
func (s session) read() error {
	for {
		answer, err := s.pubsub.Receive(spent)
		if err != nil {
			return err
		}
		s.heard.Add(1)
		switch a := answer.(type) {
		case *redis.Message:
			s.changed(a.Channel, a.Payload)
		case *redis.Subscription:
			switch a.Kind {
			case "subscribe", "ssubscribe":
				s.entered(a.Channel)
			case "unsubscribe", "sunsubscribe":
				if !s.left(a.Channel) {
					return errMoved
				}
			}
		}
	}
}
