package cart

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cartstream/schemas"
)

// Beat keeps the instance among every shard's members, and takes or keeps the lease of each outbox that is wished for where
// it is free or the instance's own, for ttl by Redis's clock; other leases are given up. A ttl of 0 gives up all and leaves.
// The offset in a wish is kept where the instance has the lease: it is where recovery begins to read. A shard that can't be asked
// has its error in its place, and those that answer don't wait for it.
func (s *Store) Beat(ctx context.Context, instance string, ttl time.Duration, wishes []schemas.ShardWish) ([]schemas.ShardLease, error) {
	if strings.ContainsAny(instance, " \n") || instance == "" {
		return nil, fmt.Errorf("instance %q: a name without spaces", instance)
	}
	shards := s.nodes.shards()
	found := gather(ctx, shards, func(shard int) schemas.ShardLease {
		wish := "leave"
		switch {
		case ttl == 0:
			wish = "quit"
		case wishes[shard].Lease:
			wish = "take"
		}
		return s.beat(ctx, shard, instance, wish, ttl, wishes[shard].Offset)
	})
	leases := make([]schemas.ShardLease, shards)
	for shard := range leases {
		lease, ok := found[shard]
		if !ok {
			lease = schemas.ShardLease{Shard: shard, Err: fmt.Errorf("heartbeat for shard %d: %w", shard, context.Cause(ctx))}
		}
		leases[shard] = lease
	}
	return leases, nil
}

// gather calls ask for 0 to n-1 at the same time, so that the calls share pipelines, and returns what had come by the
// time that ctx ended: a server that is silent holds up only what it was asked.
func gather[T any](ctx context.Context, n int, ask func(int) T) map[int]T {
	type answer struct {
		i     int
		value T
	}
	answers := make(chan answer, n)
	for i := range n {
		go func() { answers <- answer{i, ask(i)} }()
	}
	found := make(map[int]T, n)
	for len(found) < n {
		select {
		case a := <-answers:
			found[a.i] = a.value
		case <-ctx.Done():
			return found
		}
	}
	return found
}

func (s *Store) beat(ctx context.Context, shard int, instance, wish string, ttl time.Duration, offset int64) schemas.ShardLease {
	lease := schemas.ShardLease{Shard: shard}
	keys := []string{s.nodes.generation(shard), s.nodes.lease(shard), s.nodes.members(shard), s.nodes.token(shard), s.nodes.tail(shard)}
	generation, answer, err := s.run(ctx, shard, scriptBeat, keys, instance, wish, ttl.Milliseconds(), offset)
	if err != nil {
		lease.Err = fmt.Errorf("heartbeat for shard %d: %w", shard, err)
		return lease
	}
	fields, _ := answer.([]any)
	texts := make([]string, len(fields))
	for i, f := range fields {
		texts[i], _ = f.(string)
	}
	if len(texts) < 2 {
		lease.Err = fmt.Errorf("heartbeat for shard %d: script answered %v", shard, answer)
		return lease
	}
	lease.Generation, lease.Owner, lease.Members = generation.String(), texts[0], texts[2:]
	lease.Owned = lease.Owner == instance
	lease.Token, lease.Err = strconv.ParseInt(texts[1], 10, 64)
	return lease
}

// readGroups is how many reads share one server's outboxes: one after the other, reading and what is done with what was
// read would leave most of a machine idle while much waits. Each costs a connection, and a look now and then when all is quiet.
const readGroups = 4

// ReadGroups returns every shard once, grouped by what one ReadOutbox may name together: a share of those on one server,
// each alone in a cluster, where a blocked read can't span slots.
func (s *Store) ReadGroups() [][]int {
	n := s.nodes.shards()
	if s.nodes.single != nil {
		n = min(n, readGroups)
	}
	groups := make([][]int, n)
	for shard := range s.nodes.shards() {
		groups[shard%n] = append(groups[shard%n], shard)
	}
	return groups
}

// longestBlock is how long a read waits at the most, whatever it is asked. A server that is silent for longer, by what a
// call may take and readMargin, is given up.
const (
	longestBlock = time.Second
	readMargin   = time.Second
)

// ReadOutbox waits up to block for entries after the cursors, and returns at most limit for each. A shard whose
// generation is another than its cursor's, or not known, comes back with an error, at once: its cursor must start at the
// head. Other errors concern all shards.
func (s *Store) ReadOutbox(ctx context.Context, cursors []schemas.OutboxCursor, block time.Duration, limit int) ([]schemas.OutboxBatch, error) {
	block = min(block, longestBlock)
	n := len(cursors)
	keys, ids := make([]string, 0, n), make([]string, 0, n)
	places := make([]int, 0, n) // of the keys' batches
	batches := make([]schemas.OutboxBatch, 0, n)
	for _, c := range cursors {
		l := s.shards[c.Shard].current.Load()
		if l == nil || c.Generation != "" && c.Generation != l.String() {
			batches = append(batches, schemas.OutboxBatch{Shard: c.Shard, Err: fmt.Errorf("outbox of shard %d: %w", c.Shard, errFenced)})
			continue
		}
		keys, places = append(keys, s.nodes.outbox(c.Shard)), append(places, len(batches))
		batches = append(batches, schemas.OutboxBatch{Shard: c.Shard, Generation: l.String()})
		if c.After == "" {
			c.After = "0"
		}
		ids = append(ids, c.After)
	}
	if len(ids) < len(cursors) || len(ids) == 0 {
		block = 0 // what failed must be known at once
	}
	if len(ids) == 0 {
		return batches, nil
	}
	client, err := s.blocking.node(ctx, cursors[0].Shard)
	if err != nil {
		return nil, err
	}
	at := 0
	err = readStreams(ctx, client, xread(limit, block.Milliseconds(), keys, ids), func(stream []byte, found []streamEntry) error {
		// They come in the order of the keys, without those that have nothing.
		for tries := 0; keys[at] != string(stream); at = (at + 1) % len(keys) {
			if tries++; tries > len(keys) {
				return fmt.Errorf("nobody asked for %s", stream)
			}
		}
		b := &batches[places[at]]
		b.Entries, b.Err = entriesOf(found, s.Currency)
		return nil
	})
	if err != nil {
		s.blocking.moved(ctx, err)
		return nil, fmt.Errorf("read outboxes: %w", err)
	}
	return batches, nil
}

// Trim removes each shard's entries up to what Kafka has, and lets those know who wait for that. It refuses, with
// schemas.ErrFenced, without the lease or under another generation.
func (s *Store) Trim(ctx context.Context, trims []schemas.OutboxTrim) []error {
	found := gather(ctx, len(trims), func(i int) error { return s.trim(ctx, trims[i]) })
	errs := make([]error, len(trims))
	for i, t := range trims {
		err, ok := found[i]
		if !ok {
			err = fmt.Errorf("trim shard %d: %w", t.Shard, context.Cause(ctx))
		}
		errs[i] = err
	}
	return errs
}

func (s *Store) trim(ctx context.Context, t schemas.OutboxTrim) error {
	number, n, ok := strings.Cut(t.UpTo, "-")
	last, err := strconv.ParseUint(n, 10, 64)
	if !ok || err != nil {
		return fmt.Errorf("trim shard %d: id %q can't be read", t.Shard, t.UpTo)
	}
	publish := "PUBLISH"
	if s.nodes.cluster != nil {
		publish = "SPUBLISH"
	}
	keys := []string{s.nodes.generation(t.Shard), s.nodes.lease(t.Shard), s.nodes.outbox(t.Shard), s.nodes.position(t.Shard)}
	generation, answer, err := s.run(ctx, t.Shard, scriptTrim, keys, t.Generation, t.Token, t.UpTo,
		number+"-"+strconv.FormatUint(last+1, 10), publish, s.nodes.relayed(t.Shard))
	switch {
	case errors.Is(err, errFenced):
		return fmt.Errorf("trim shard %d: %w: %w", t.Shard, schemas.ErrFenced, err)
	case err != nil:
		return fmt.Errorf("trim shard %d: %w", t.Shard, err)
	case answer != "ok":
		return fmt.Errorf("trim shard %d: %w", t.Shard, schemas.ErrFenced)
	}
	s.relayed.announce(t.Shard, generation.Number, t.UpTo)
	return nil
}
