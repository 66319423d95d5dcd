package relay

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"time"

	"cartstream/schemas"
)

// A shard has a new owner at most 5 s after its old one died: that one's lease and membership end after leaseTTL, the
// next beat of the others shows it and the beat after that, at once, takes the lease.
const (
	leaseTTL    = 3 * time.Second
	leaseMargin = leaseTTL / 4 // for this much before its end a lease isn't used any more
	beatEvery   = time.Second
	beatGap     = 50 * time.Millisecond // between two beats at least
	beatTimeout = time.Second

	// How long a shard that goes to another instance, or all at the end, waits for what is in flight. Repeats are what
	// cutting it short costs.
	handOver = time.Second
	drain    = 5 * time.Second

	// A round that takes that long is told of, each time that long.
	overdue = 10 * time.Second
)

// member keeps this instance among those that relay, with its share of the shards, until ctx ends and what is in flight
// is settled. Beats go on under work.
func (r *Relay) member(ctx, work context.Context) {
	ending := ctx.Done()
	var end time.Time
	var told time.Time
	for {
		now := time.Now()
		if ctx.Err() != nil && end.IsZero() {
			ending, end = nil, now.Add(drain)
		}
		wishes, held := r.wanted(now, !end.IsZero())
		if !end.IsZero() && (held == 0 || !now.Before(end)) {
			return
		}
		again := r.beat(work, wishes)
		told = r.watch(work, told)
		wait := beatEvery
		if again {
			wait = beatGap
		}
		t := time.NewTimer(wait)
		select {
		case <-ending:
		case <-t.C:
		case <-r.hurry:
			sleep(work, beatGap-time.Since(now))
		}
		t.Stop()
	}
}

// wanted returns what to ask for in the next beat, and how many leases are held. A shard that belongs to another instance is kept
// until what is in flight is settled.
func (r *Relay) wanted(now time.Time, ending bool) (wishes []schemas.ShardWish, held int) {
	bound := handOver
	if ending {
		bound = drain
	}
	wishes = make([]schemas.ShardWish, len(r.shards))
	for _, l := range r.lanes {
		l.mu.Lock()
		for _, s := range l.shards {
			// A shard without news is told how far its partition has come, so that a recovery needn't read all of that again.
			wishes[s.number] = schemas.ShardWish{Lease: s.wanted(now, bound, ending), Offset: r.ends[s.number%len(r.ends)].Load() - 1}
			if s.lease.Owned {
				held++
			}
		}
		l.mu.Unlock()
	}
	return wishes, held
}

func (s *shard) wanted(now time.Time, bound time.Duration, ending bool) bool {
	switch {
	case s.mine && !ending:
		if !s.leaving.IsZero() {
			s.leaving = time.Time{}
			wake(s.lane.readable)
		}
		return true
	case !s.lease.Owned:
		return false
	case s.leaving.IsZero():
		s.leaving = now
		wake(s.lane.trimmable)
	}
	return !s.idle() && now.Sub(s.leaving) < bound
}

// beat sends one heartbeat and reports whether another one at once would change something.
func (r *Relay) beat(ctx context.Context, wishes []schemas.ShardWish) bool {
	sent := time.Now() // the lease may be as old as that
	call, cancel := context.WithTimeout(ctx, beatTimeout)
	leases, err := r.Outbox.Beat(call, r.Instance, leaseTTL, wishes)
	cancel()
	if err != nil {
		r.silence(ctx, len(wishes), err)
		return false
	}
	again, silent := false, 0
	for _, lease := range leases {
		if lease.Err != nil {
			silent, err = silent+1, lease.Err
			continue
		}
		s := r.shards[lease.Shard]
		s.lane.mu.Lock()
		s.lane.leased(ctx, s, lease, sent)
		if s.mine != wishes[lease.Shard].Lease && (lease.Owned && s.idle() || lease.Owner == "" && s.mine) {
			again = true
		}
		s.lane.mu.Unlock()
	}
	r.silence(ctx, silent, err)
	return again
}

// silence tells of shards that don't answer heartbeats, when some begin to and when all answer again.
func (r *Relay) silence(ctx context.Context, silent int, err error) {
	if silent > 0 {
		r.metrics.errors.WithLabelValues("beat").Inc()
	}
	switch {
	case silent > 0 && r.silent == 0:
		r.Logger.WarnContext(ctx, "shards don't answer heartbeats, their leases will run out", "shards", silent, "err", err)
	case silent == 0 && r.silent > 0:
		r.Logger.InfoContext(ctx, "all shards answer heartbeats again")
	}
	r.silent = silent
}

// leased takes up what a beat that was sent at that time found.
func (l *lane) leased(ctx context.Context, s *shard, lease schemas.ShardLease, sent time.Time) {
	if s.lease.Members == nil || !slices.Equal(s.lease.Members, lease.Members) {
		s.mine = owner(s.number, lease.Members, l.relay.Instance) == l.relay.Instance
	}
	had := s.lease.Owned
	switch {
	case had && !lease.Owned:
		change := "lost"
		if !s.leaving.IsZero() {
			change = "released"
		}
		l.change(ctx, s, change)
		s.lose()
	case had && (s.lease.Token != lease.Token || s.lease.Generation != lease.Generation):
		l.change(ctx, s, "renewed")
		s.lose()
	case !had && lease.Owned:
		l.change(ctx, s, "taken")
		s.lose()
	}
	s.lease = lease
	if !lease.Owned {
		return
	}
	s.until = sent.Add(leaseTTL - leaseMargin)
	l.send(ctx, s, time.Now()) // what was queued when the lease might have run out
	wake(l.readable)
	if s.trim != nil {
		wake(l.trimmable)
	}
}

func (l *lane) change(ctx context.Context, s *shard, change string) {
	l.relay.metrics.leases.WithLabelValues(change).Inc()
	l.relay.Logger.DebugContext(ctx, "lease of an outbox", "shard", s.number, "change", change)
}

// leave gives up everything, so that the others needn't wait for this instance's leases to run out.
func (r *Relay) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	if _, err := r.Outbox.Beat(ctx, r.Instance, 0, make([]schemas.ShardWish, len(r.shards))); err != nil {
		r.Logger.WarnContext(ctx, "leases can't be given up, they run out", "err", err)
	}
}

// watch tells of rounds that Kafka doesn't answer for long, and returns when it last did.
func (r *Relay) watch(ctx context.Context, told time.Time) time.Time {
	now := time.Now()
	if now.Sub(told) < overdue {
		return told
	}
	waiting, longest := 0, time.Duration(0)
	for _, l := range r.lanes {
		l.mu.Lock()
		for _, s := range l.shards {
			if s.round != nil && now.Sub(s.round.started) >= overdue {
				waiting, longest = waiting+1, max(longest, now.Sub(s.round.started))
			}
		}
		l.mu.Unlock()
	}
	if waiting == 0 {
		return told
	}
	r.Logger.WarnContext(ctx, "kafka does not acknowledge, outboxes grow", "shards", waiting, "longest", longest.Round(time.Second))
	return now
}

// owner returns the member that a shard belongs to, by rendezvous hashing: who joins or leaves changes the owner of its
// own share only. Self counts as a member whether it is listed or not.
func owner(shard int, members []string, self string) string {
	best, most := self, score(shard, self)
	for _, m := range members {
		if n := score(shard, m); n > most || n == most && m > best {
			best, most = m, n
		}
	}
	return best
}

func score(shard int, member string) uint64 {
	sum := sha256.Sum256([]byte(strconv.Itoa(shard) + "/" + member))
	return binary.BigEndian.Uint64(sum[:])
}
