package persist

import (
	"context"
	"sync"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"cartstream/api/cart"
	"cartstream/schemas"
)

const (
	// inFlight is how many bulk writes MongoDB gets at once: two keep it busy, more only wait for each other.
	inFlight = 2
	// maxDocuments of a bulk write. Far below the 25,000 writes that DocumentDB takes at most.
	maxDocuments = 1000
)

// write is what one document is to be brought up to: by changes, in order, or by a whole cart.
type write struct {
	user    string
	changes []schemas.CartChanged
	whole   *schemas.Cart

	// What it came to, to be read once the call is done.

	// gap is the newest change that could not be applied because one before it is missing; zero where there is none.
	gap cart.Tag
	// down is why MongoDB could not be asked, refused why it won't take this document; where both are nil the document is
	// as new as the write, but for a gap.
	down, refused error

	call *call
}

// call is those who wait for some writes.
type call struct {
	left int
	done chan struct{}
}

// writer turns the writes of all partitions into few bulk writes: while as many as MongoDB takes are in flight, what
// comes waits, and goes together as soon as one ends. Nothing ever waits for a timer.
type writer struct {
	carts *mongo.Collection
	meter *meter

	mu      sync.Mutex
	waiting []*write
	flights int
}

// do returns once each write has its outcome, or with ctx's error when that ends first; the writes may then happen or
// not.
func (w *writer) do(ctx context.Context, writes []*write) error {
	if len(writes) == 0 {
		return nil
	}
	c := &call{left: len(writes), done: make(chan struct{})}
	for _, one := range writes {
		one.call = c
	}
	w.mu.Lock()
	w.waiting = append(w.waiting, writes...)
	w.launch()
	w.mu.Unlock()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		w.forget(c)
		return ctx.Err()
	}
}

// launch starts a flight where there is something for it to take. The caller holds mu.
func (w *writer) launch() {
	if len(w.waiting) == 0 || w.flights == inFlight {
		return
	}
	w.flights++
	n := min(len(w.waiting), maxDocuments)
	load := w.waiting[:n:n]
	if w.waiting = w.waiting[n:]; len(w.waiting) == 0 {
		w.waiting = nil // lets go of the array
	}
	go func() {
		w.fly(load)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.flights--
		for _, one := range load {
			if one.call.left--; one.call.left == 0 {
				close(one.call.done)
			}
		}
		w.launch()
	}()
	w.launch() // more than one bulk write may be waiting
}

// queued is how many writes wait for a flight.
func (w *writer) queued() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return float64(len(w.waiting))
}

// forget drops the call's writes that have not begun.
func (w *writer) forget(c *call) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := w.waiting[:0:0]
	for _, one := range w.waiting {
		if one.call != c {
			kept = append(kept, one)
		}
	}
	w.waiting = kept
}
