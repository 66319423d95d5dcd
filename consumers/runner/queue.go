package runner

import (
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	defaultBatch = 1000
	batchBytes   = 4 << 20
)

// queue is what a partition's worker has still to do. It holds two batches and what one more poll brings: beyond the
// first two, flow is told to stop, and to go on once half of that is gone.
type queue struct {
	batch   int             // most records of a batch
	flow    func(stop bool) // stops or resumes fetching; called under mu
	arrived chan struct{}   // something was pushed

	mu      sync.Mutex
	waiting []*kgo.Record
	bytes   int
	inHand  *kgo.Record // the first record of the batch that was taken and isn't done
	stopped bool
}

func newQueue(batch int, flow func(bool)) *queue {
	return &queue{batch: batch, flow: flow, arrived: make(chan struct{}, 1)}
}

func (q *queue) push(records []*kgo.Record) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, records...)
	for _, r := range records {
		q.bytes += size(r)
	}
	if !q.stopped && (len(q.waiting) >= 2*q.batch || q.bytes >= 2*batchBytes) {
		q.stopped = true
		q.flow(true)
	}
	select {
	case q.arrived <- struct{}{}:
	default:
	}
}

// take returns what waits, up to a batch, or nothing.
func (q *queue) take() []*kgo.Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, bytes := 0, 0
	for n < len(q.waiting) && n < q.batch {
		next := size(q.waiting[n])
		if n > 0 && bytes+next > batchBytes {
			break
		}
		bytes += next
		n++
	}
	if n == 0 {
		return nil
	}
	batch := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	q.bytes -= bytes
	q.inHand = batch[0]
	if q.stopped && len(q.waiting) <= q.batch && q.bytes <= batchBytes {
		q.stopped = false
		q.flow(false)
	}
	return batch
}

// settle forgets the batch in hand.
func (q *queue) settle() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.inHand = nil
}

// close drops what waits and lets the partition be fetched again, by whoever owns it next.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting, q.bytes, q.inHand = nil, 0, nil
	if q.stopped {
		q.stopped = false
		q.flow(false)
	}
}

// oldest is when the first record that isn't done was written; the zero time where there is none.
func (q *queue) oldest() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.inHand != nil:
		return q.inHand.Timestamp
	case len(q.waiting) > 0:
		return q.waiting[0].Timestamp
	}
	return time.Time{}
}

func size(r *kgo.Record) int { return len(r.Key) + len(r.Value) }
