package reconcile

import (
	"fmt"
	"sync"
)

// left counts what could not be compared or healed, and keeps one of the reasons.
type left struct {
	mu     sync.Mutex
	n      int
	reason error
}

func newLeft() *left { return &left{} }

// add takes note of a failure; nil is none.
func (l *left) add(err error) {
	if err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	l.reason = err
}

func (l *left) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n == 0 {
		return nil
	}
	return fmt.Errorf("%d times something could not be compared or healed, one of them: %w", l.n, l.reason)
}
