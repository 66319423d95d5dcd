package relay

import (
	"errors"
	"time"

	"cartstream/schemas"
)

// Bounds of a shard's queue: it is not read while it holds that much. A read brings about readBytes more.
const (
	queueEntries = 1000
	queueBytes   = 256 << 10
	readBytes    = 256 << 10
	readEntries  = 500
)

// A read of many shards brings about fairEntries, and fairShare of each at least: what it brings is sent while it is in the
// processor's caches.
const (
	fairEntries = 4000
	fairShare   = 100
)

// How long a shard rests after an error: doubling with each failed round in a row, fixed after a failed read.
const (
	roundBackoff    = 50 * time.Millisecond
	roundBackoffMax = 5 * time.Second
	readBackoff     = 250 * time.Millisecond
)

// errTooLarge says that an entry is larger than its topic allows. The limits on carts rule it out.
var errTooLarge = errors.New("entry larger than its topic takes")

// shard is one outbox as far as this instance relays it. Its lane's lock guards it.
type shard struct {
	number int
	lane   *lane

	lease   schemas.ShardLease // the last one known
	until   time.Time          // from when on the lease may have run out; it is used before only
	mine    bool               // by the members known, the shard belongs to this instance
	leaving time.Time          // since when the shard is being given up; zero where it isn't

	after       string // cursor
	generation  string // under which the cursor was read
	incarnation uint64 // grows whenever the cursor goes back to the head: what was read or sent before is void
	asked       uint64 // incarnation when it was last asked for entries
	queue       []schemas.OutboxEntry
	queued      int // bytes
	round       *round
	trim        *schemas.OutboxTrim // what Kafka has and the outbox still holds
	untrimmed   int                 // entries that trim is about, some twice after an error

	resting    time.Time // not read nor sent before
	trimAt     time.Time // not trimmed before
	trimmed    time.Time // when it was trimmed last
	failures   int       // failed rounds in a row
	unreadable bool      // the last read failed
}

// relayed reports whether the shard may be read and sent now: by a lease that can't have run out, and isn't given up.
func (s *shard) relayed(now time.Time) bool {
	return s.lease.Owned && now.Before(s.until) && s.leaving.IsZero() && !now.Before(s.resting)
}

// full reports whether the shard holds enough for the time being.
func (s *shard) full() bool { return s.queued >= queueBytes || len(s.queue) >= queueEntries }

// idle reports whether nothing of the shard is on its way.
func (s *shard) idle() bool { return s.round == nil && s.trim == nil }

// rewind drops the queue and starts at the head again.
func (s *shard) rewind() {
	s.after, s.generation, s.queue, s.queued = "", "", nil, 0
	s.incarnation++
}

// rest keeps the shard from being read and sent for a while.
func (s *shard) rest(now time.Time, d time.Duration) { s.resting = now.Add(d) }

// lose forgets everything that was done under the lease.
func (s *shard) lose() {
	s.rewind()
	s.trim, s.untrimmed, s.lease.Owned, s.until, s.leaving = nil, 0, false, time.Time{}, time.Time{}
	s.resting, s.failures = time.Time{}, 0
}

// take queues what was read.
func (s *shard) take(b schemas.OutboxBatch) {
	for _, e := range b.Entries {
		s.queued += size(e)
	}
	s.queue = append(s.queue, b.Entries...)
	s.after, s.generation = b.Entries[len(b.Entries)-1].ID, b.Generation
}

// giveBack queues again, in front, what a round did not send.
func (s *shard) giveBack(entries []schemas.OutboxEntry) {
	if len(entries) == 0 {
		return
	}
	for _, e := range entries {
		s.queued += size(e)
	}
	s.queue = append(entries[:len(entries):len(entries)], s.queue...)
}

// acknowledged notes that Kafka has n more entries, everything up to that one.
func (s *shard) acknowledged(n int, upTo string) {
	s.untrimmed += n
	s.trim = &schemas.OutboxTrim{
		Shard: s.number, Token: s.lease.Token, Generation: s.lease.Generation, UpTo: upTo,
	}
}

// due returns from when on the shard is trimmed: at once where it was quiet, where many entries wait for that, and where
// somebody waits for the shard.
func (s *shard) due(every time.Duration) time.Time {
	at := s.trimmed.Add(every)
	if s.untrimmed >= trimEntries || !s.leaving.IsZero() || at.Before(s.trimAt) {
		return s.trimAt
	}
	return at
}

// next moves the front of the queue into a round. It returns nil where there is nothing to send, and errTooLarge where
// the first entry can't be.
func (s *shard) next(now time.Time, done chan<- *round) (*round, error) {
	if s.round != nil || len(s.queue) == 0 || !s.relayed(now) {
		return nil, nil
	}
	limit := roundEntries
	if s.failures > 0 {
		limit = 1 // so that what is refused for its size or contents holds up as little as can be
	}
	n, bytes := 0, 0
	for _, e := range s.queue[:min(limit, len(s.queue))] {
		b := size(e)
		// A flight is of one topic.
		if n > 0 && (bytes+b > roundBytes || e.Topic != s.queue[0].Topic) || b > int(batchBytes(e.Topic)) {
			break
		}
		n, bytes = n+1, bytes+b
	}
	if n == 0 {
		return nil, errTooLarge
	}
	s.round = &round{
		shard: s, entries: s.queue[:n:n], done: done, started: now,
		token: s.lease.Token, generation: s.lease.Generation, incarnation: s.incarnation,
	}
	if s.queue, s.queued = s.queue[n:], s.queued-bytes; len(s.queue) == 0 {
		s.queue = nil
	}
	return s.round, nil
}

// oldest returns the oldest entry that Kafka isn't known to have.
func (s *shard) oldest() (schemas.OutboxEntry, bool) {
	switch {
	case s.round != nil:
		return s.round.entries[0], true
	case len(s.queue) > 0:
		return s.queue[0], true
	}
	return schemas.OutboxEntry{}, false
}
