package runner

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// aside is what a transactor knows of the partitions that aren't done with what they polled. Those in trouble aren't
// fetched until they are due, so that the others go on. The zero value is ready for use.
type aside struct {
	mu sync.Mutex
	at map[place]*waiting
}

type waiting struct {
	since time.Time // when the first of its records was written
	tries int       // failures in a row
	until time.Time // not fetched before; zero while it is fetched
}

// begin notes that records are in hand.
func (a *aside) begin(got polled) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at == nil {
		a.at = map[place]*waiting{}
	}
	for at, records := range got {
		if a.at[at] == nil {
			a.at[at] = &waiting{}
		}
		a.at[at].since = records[0].Timestamp
	}
}

// done notes that the records are committed.
func (a *aside) done(got polled) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for at := range got {
		delete(a.at, at)
	}
}

// add stops fetching the partitions for a while, and returns how often each failed in a row.
func (a *aside) add(cl *kgo.Client, failed iter.Seq[place]) map[place]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	tries := map[place]int{}
	for at := range failed {
		w := a.at[at]
		w.tries++
		w.until = time.Now().Add(backoff(downFirst, downLast, w.tries))
		tries[at] = w.tries
		cl.PauseFetchPartitions(map[string][]int32{at.topic: {at.partition}})
	}
	return tries
}

// due fetches again what is due, forgets what is no longer this member's, and returns a ctx that ends when the next
// partition is due.
func (a *aside) due(ctx context.Context, cl *kgo.Client) (context.Context, context.CancelFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var next time.Time
	mine := cl.CommittedOffsets()
	for at, w := range a.at {
		_, owned := mine[at.topic][at.partition]
		switch {
		case !owned:
			delete(a.at, at)
		case w.until.IsZero():
			continue
		case time.Now().Before(w.until):
			if next.IsZero() || w.until.Before(next) {
				next = w.until
			}
			continue
		}
		w.until = time.Time{}
		cl.ResumeFetchPartitions(map[string][]int32{at.topic: {at.partition}})
	}
	if next.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, next)
}

func (a *aside) oldest() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	var first time.Time
	for _, w := range a.at {
		if first.IsZero() || w.since.Before(first) {
			first = w.since
		}
	}
	return first
}

func (a *aside) clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.at)
}
