package timer_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"cartstream/consumers/timer"
)

var errAway = errors.New("redis is away")

// link is how one instance reaches Leases. While it is cut, calls fail; while it is frozen, as in a process that was
// paused or killed, they don't return.
type link struct {
	timer.Leases
	mu     sync.Mutex
	cut    bool
	frozen chan struct{}
	looks  int
}

func (l *link) pass() error {
	l.mu.Lock()
	frozen := l.frozen
	l.looks++
	l.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return errAway
	}
	return nil
}

func (l *link) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.looks = cut, 0
}

func (l *link) calls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.looks
}

func (l *link) freeze() (thaw func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen = make(chan struct{})
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		close(l.frozen)
		l.frozen = nil
	}
}

func (l *link) State(ctx context.Context, job string) (timer.State, error) {
	if err := l.pass(); err != nil {
		return timer.State{}, err
	}
	return l.Leases.State(ctx, job)
}

func (l *link) Take(ctx context.Context, job string, c timer.Claim, ttl time.Duration) (int64, bool, error) {
	if err := l.pass(); err != nil {
		return 0, false, err
	}
	return l.Leases.Take(ctx, job, c, ttl)
}

func (l *link) Renew(ctx context.Context, job, token string, ttl time.Duration) error {
	if err := l.pass(); err != nil {
		return err
	}
	return l.Leases.Renew(ctx, job, token, ttl)
}

func (l *link) Settle(ctx context.Context, job, token string, o timer.Outcome) error {
	if err := l.pass(); err != nil {
		return err
	}
	return l.Leases.Settle(ctx, job, token, o)
}
