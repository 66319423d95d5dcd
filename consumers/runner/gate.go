package runner

import (
	"context"
	"sync"
)

// gate is what a batch passes before each try: shut while the consumer is paused, and as wide as its Concurrency.
type gate struct {
	slots chan struct{} // nil: any number

	mu   sync.Mutex
	open chan struct{} // closed while the gate is open
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

// limit must be called before the first enter; 0 is no limit.
func (g *gate) limit(n int) {
	if n > 0 {
		g.slots = make(chan struct{}, n)
	}
}

func (g *gate) pause() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.isOpen() {
		g.open = make(chan struct{})
	}
}

func (g *gate) resume() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isOpen() {
		close(g.open)
	}
}

// isOpen is called under mu.
func (g *gate) isOpen() bool {
	select {
	case <-g.open:
		return true
	default:
		return false
	}
}

// wait returns once the gate is open, or ctx's error once that ends.
func (g *gate) wait(ctx context.Context) error {
	g.mu.Lock()
	open := g.open
	g.mu.Unlock()
	select {
	case <-open:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter waits for a slot and then for the gate to be open. It returns ctx's error once that ends, and then holds no slot.
func (g *gate) enter(ctx context.Context) error {
	if g.slots != nil {
		select {
		case g.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := g.wait(ctx); err != nil {
		g.leave()
		return err
	}
	return nil
}

// leave frees the slot of an enter that returned nil.
func (g *gate) leave() {
	if g.slots != nil {
		<-g.slots
	}
}
