package relay

import (
	"context"
	"errors"
	"time"

	"cartstream/schemas"
)

const (
	trimTimeout = time.Second
	failedTrim  = 250 * time.Millisecond
	trimEntries = 500 // that wait no longer
)

// madeAnew is the end of a partition whose topic was made anew, until it has a record of ours.
const madeAnew = schemas.OffsetForgotten + 1

// settle takes up what has become of a round, and sends the next.
func (l *lane) settle(ctx context.Context, sent *round) {
	n, err := sent.outcome()
	l.relay.metrics.count(sent, n, err)
	if l.relay.producer.Refused(sent.client, err) {
		l.relay.forget()
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := sent.shard
	s.round = nil
	l.relay.reached(sent)
	same := sent.token == s.lease.Token && sent.generation == s.lease.Generation && s.lease.Owned
	switch {
	case !same: // what it was sent for has changed hands
	case err != nil:
		l.fail(ctx, s, sent.entries[0], err)
	default:
		s.failures = 0
		s.acknowledged(n, sent.entries[n-1].ID)
		wake(l.trimmable)
		if sent.incarnation == s.incarnation {
			s.giveBack(sent.entries[n:])
		}
	}
	l.send(ctx, s, now)
	wake(l.readable)
	if !s.leaving.IsZero() {
		wake(l.relay.hurry)
	}
}

// reached notes the offset of a record in the shard's partition, unless it stands in a topic that is gone. Rounds are settled
// one at a time.
func (r *Relay) reached(sent *round) {
	end := &r.ends[sent.shard.number%len(r.ends)]
	if sent.offset >= max(0, end.Load()) && sent.client == r.producer.Client() {
		end.Store(sent.offset + 1)
	}
}

// forget makes the shards forget how far a topic had come that was made anew: once the new one is as long, recovery would
// take what stands before for what they hold. They are told at once.
func (r *Relay) forget() {
	for i := range r.ends {
		r.ends[i].Store(madeAnew)
	}
	wake(r.hurry)
}

// trim removes from the outboxes what Kafka has, until ctx ends. What piles up during one call is removed with the next.
func (l *lane) trim(ctx context.Context) {
	for ctx.Err() == nil {
		trims, wait := l.trimming(time.Now())
		if len(trims) == 0 {
			l.pause(ctx, l.trimmable, wait)
			continue
		}
		points := make([]schemas.OutboxTrim, len(trims))
		for i, t := range trims {
			points[i] = *t
		}
		call, cancel := context.WithTimeout(ctx, trimTimeout)
		errs := l.relay.Outbox.Trim(call, points)
		cancel()
		for i, t := range trims {
			l.trimmed(ctx, t, errs[i])
		}
	}
}

// trimming returns what is to be trimmed now, or for how long there is nothing at the most. Without a lease that
// can't have run out nothing is trimmed.
func (l *lane) trimming(now time.Time) (trims []*schemas.OutboxTrim, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait = time.Minute
	for _, s := range l.shards {
		switch {
		case s.trim == nil || !now.Before(s.until):
		case now.Before(s.due(l.relay.TrimEvery)):
			wait = min(wait, s.due(l.relay.TrimEvery).Sub(now))
		default:
			trims = append(trims, s.trim)
			s.untrimmed = 0
		}
	}
	return trims, wait
}

func (l *lane) trimmed(ctx context.Context, t *schemas.OutboxTrim, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.relay.shards[t.Shard]
	if err != nil {
		l.relay.metrics.errors.WithLabelValues("trim").Inc()
	}
	switch {
	case errors.Is(err, schemas.ErrFenced):
		if s.lease.Owned && s.lease.Token == t.Token && s.lease.Generation == t.Generation {
			l.relay.Logger.InfoContext(ctx, "lease of an outbox is lost", "shard", s.number, "err", err)
			l.relay.metrics.leases.WithLabelValues("lost").Inc()
			s.lose()
			wake(l.relay.hurry)
		}
	case err != nil:
		s.trimAt = time.Now().Add(failedTrim)
		l.relay.Logger.DebugContext(ctx, "outbox can't be trimmed", "shard", s.number, "err", err)
	default:
		s.trimmed = time.Now()
		if s.trim != t {
			return // more is to be trimmed by now
		}
		s.trim = nil
		if !s.leaving.IsZero() {
			wake(l.relay.hurry)
		}
	}
}
