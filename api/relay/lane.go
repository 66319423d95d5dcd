package relay

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"cartstream/schemas"
)

// How long a read waits in the outbox. A lane of several shards looks up more often, since it can't be told meanwhile
// that it has another shard to read, and soon while a full shard may have got room again.
const (
	block         = time.Second
	blockShared   = 500 * time.Millisecond
	blockFull     = 20 * time.Millisecond
	failedRead    = 50 * time.Millisecond // doubles to
	failedReadMax = time.Second
)

// A read that brings crowd entries tells of many changes at once, as where a book's price changes in all carts. For
// crowdedFor after it there is a pause between reads: what others change meanwhile then goes with the crowd, where each
// change would cost a read and a request of its own, just while the machine has least to spare.
const (
	crowd      = 50
	crowdedFor = 50 * time.Millisecond
	crowdPause = 3 * time.Millisecond
)

// lane is the shards that are read together, and waits for none of another lane.
type lane struct {
	relay *Relay

	mu        sync.Mutex
	shards    []*shard
	readable  chan struct{} // there may be more to read
	trimmable chan struct{} // there may be more to trim
	entrySize int           // of late, in bytes
	cursors   []schemas.OutboxCursor
}

// read reads what belongs to this instance and sends it, until ctx ends.
func (l *lane) read(ctx context.Context) {
	failures := 0
	var crowded time.Time // when a crowd was read last
	for ctx.Err() == nil {
		cursors, wait, limit := l.plan(time.Now())
		if len(cursors) == 0 {
			l.pause(ctx, l.readable, wait)
			continue
		}
		batches, err := l.relay.Outbox.ReadOutbox(ctx, cursors, wait, limit)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			l.relay.metrics.errors.WithLabelValues("read").Inc()
			if failures++; failures == 1 {
				l.relay.Logger.WarnContext(ctx, "outboxes can't be read", "shard", cursors[0].Shard, "shards", len(cursors), "err", err)
			}
			sleep(ctx, jitter(min(failedRead<<min(failures-1, 8), failedReadMax)))
			continue
		}
		if failures > 0 {
			l.relay.Logger.InfoContext(ctx, "outboxes can be read again", "shard", cursors[0].Shard, "shards", len(cursors), "failures", failures)
		}
		failures = 0
		entries, more := 0, false
		for _, b := range batches {
			l.received(ctx, b)
			entries += len(b.Entries)
			more = more || len(b.Entries) >= limit
		}
		now := time.Now()
		if entries >= crowd {
			crowded = now
		}
		if !more && now.Sub(crowded) < crowdedFor {
			sleep(ctx, crowdPause)
		}
	}
}

// plan returns the cursors to read now, how long to wait for entries, and how many to read a shard. Without a cursor it
// returns for how long there is nothing to do at the most.
func (l *lane) plan(now time.Time) (cursors []schemas.OutboxCursor, wait time.Duration, limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait = time.Minute
	cursors = l.cursors[:0] // the last read is over
	full := false
	for _, s := range l.shards {
		switch {
		case s.lease.Owned && now.Before(s.resting):
			wait = min(wait, max(s.resting.Sub(now), blockFull))
		case !s.relayed(now):
		case s.full():
			full = true
		default:
			cursors = append(cursors, schemas.OutboxCursor{Shard: s.number, After: s.after, Generation: s.generation})
			s.asked = s.incarnation
		}
	}
	switch {
	case len(cursors) == 0: // whoever changes that wakes the reader
	case full:
		wait = blockFull
	case len(l.shards) > 1:
		wait = min(wait, blockShared)
	default:
		wait = min(wait, block)
	}
	l.cursors = cursors
	limit = max(1, min(readBytes/l.entrySize, readEntries, max(fairEntries/max(len(cursors), 1), fairShare)))
	return cursors, wait, limit
}

// pause waits for c, for d at most.
func (l *lane) pause(ctx context.Context, c <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-c:
	case <-t.C:
	}
}

// received queues what a read found, and sends it where the shard has nothing in flight.
func (l *lane) received(ctx context.Context, b schemas.OutboxBatch) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.relay.shards[b.Shard]
	if s.asked != s.incarnation {
		return // the shard was lost or rewound meanwhile
	}
	switch {
	case len(b.Entries) == 0 && b.Err != nil:
		l.unread(ctx, s, b.Err)
	case len(b.Entries) == 0:
		l.readAgain(ctx, s)
	case b.Generation != s.lease.Generation:
		// The lease is an older generation's or a newer one's; the next beat tells.
		s.rewind()
		s.rest(now, readBackoff)
		wake(l.relay.hurry)
	default:
		l.readAgain(ctx, s)
		l.weigh(b.Entries)
		s.take(b)
		l.send(ctx, s, now)
	}
}

func (l *lane) unread(ctx context.Context, s *shard, err error) {
	l.relay.metrics.errors.WithLabelValues("read").Inc()
	if !s.unreadable {
		l.relay.Logger.InfoContext(ctx, "outbox can't be read, it starts at the head again", "shard", s.number, "err", err)
	}
	s.unreadable = true
	s.rewind()
	s.rest(time.Now(), readBackoff)
}

func (l *lane) readAgain(ctx context.Context, s *shard) {
	if s.unreadable {
		l.relay.Logger.InfoContext(ctx, "outbox can be read again", "shard", s.number)
	}
	s.unreadable = false
}

// weigh learns how large entries are: at once when they get larger, slowly when they get smaller.
func (l *lane) weigh(entries []schemas.OutboxEntry) {
	sum := 0
	for _, e := range entries {
		sum += size(e)
	}
	l.entrySize = max(sum/len(entries), l.entrySize-l.entrySize/8, 1)
}

// send sends the shard's next round, if it has one and nothing in flight.
func (l *lane) send(ctx context.Context, s *shard, now time.Time) {
	next, err := s.next(now, l.relay.settled)
	if err != nil {
		l.fail(ctx, s, s.queue[0], err)
		return
	}
	if next != nil {
		next.send(l.relay.producer.Client())
	}
}

// fail makes the shard start at the head again, after a while. The entry is named because nobody else would tell of one
// that Kafka never takes; its shard waits with it, since what follows must not overtake it.
func (l *lane) fail(ctx context.Context, s *shard, e schemas.OutboxEntry, err error) {
	s.failures++
	l.relay.metrics.errors.WithLabelValues("produce").Inc()
	backoff := jitter(min(roundBackoff<<min(s.failures-1, 10), roundBackoffMax))
	if s.failures&(s.failures-1) == 0 { // the first, second, fourth …
		l.relay.Logger.ErrorContext(ctx, "kafka refuses a shard's records, it starts at the head again", "shard", s.number, "topic", e.Topic,
			"user", e.Key, "entry", e.ID, "bytes", len(e.Value), "failures", s.failures, "backoff", backoff, "err", err)
	}
	s.rewind()
	s.rest(time.Now(), backoff)
}

// jitter returns d, give or take a fifth.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64())) //nolint:gosec // spreads retries, hides nothing
}
