package relay_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cartstream/schemas"
)

// server stands in for the Redis that all instances share: streams, leases with tokens, members, generations, all by
// the clock of the test.
type server struct {
	mu      sync.Mutex
	shards  []*stream
	changed chan struct{} // closed at each append
}

type stream struct {
	generation int
	number     int
	entries    []schemas.OutboxEntry
	owner      string
	token      int64
	until      time.Time
	members    map[string]time.Time
	trimmed    int // entries
	offset     int64
}

func newServer(shards int) *server {
	s := &server{changed: make(chan struct{})}
	for range shards {
		s.shards = append(s.shards, &stream{generation: 1, members: map[string]time.Time{}})
	}
	return s
}

// add appends entries, each of its user's shard.
func (s *server) add(entries ...schemas.OutboxEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		t := s.shards[schemas.Partition(e.Key, len(s.shards))]
		t.number++
		e.ID = fmt.Sprintf("%d-%d", t.generation, t.number)
		t.entries = append(t.entries, e)
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// raise begins a new generation in a shard: cursors and leases of the old one are void.
func (s *server) raise(shard int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shards[shard].generation++
}

// steal gives a shard's lease away to an instance that isn't there.
func (s *server) steal(shard int, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.shards[shard]
	t.owner, t.token, t.until = "thief", t.token+1, time.Now().Add(d)
}

func (s *server) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, t := range s.shards {
		n += len(t.entries)
	}
	return n
}

// owners returns how many shards each instance holds a lease of now.
func (s *server) owners() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	owners := map[string]int{}
	for _, t := range s.shards {
		if time.Now().Before(t.until) {
			owners[t.owner]++
		}
	}
	return owners
}

// outbox is one instance's connection to the server, with faults of its own.
type outbox struct {
	*server
	alone bool // each shard is a read group of its own

	mu     sync.Mutex
	fail   func(call string, shard int) error // "beat", "read", "trim"; nil where nothing fails
	frozen chan struct{}                      // calls wait for it to be closed
	calls  map[string]int
}

func (s *server) connect() *outbox { return &outbox{server: s, calls: map[string]int{}} }

// failing makes calls fail as fail says.
func (o *outbox) failing(fail func(call string, shard int) error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fail = fail
}

// freeze stops the instance, as SIGSTOP or a long pause of its host would: it learns nothing until thaw.
func (o *outbox) freeze() (thaw func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	frozen := make(chan struct{})
	o.frozen = frozen
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.frozen = nil
		close(frozen)
	}
}

func (o *outbox) count(call string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.calls[call]
}

func (o *outbox) enter(call string) func(shard int) error {
	o.mu.Lock()
	o.calls[call]++
	fail, frozen := o.fail, o.frozen
	o.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
	return func(shard int) error {
		if fail == nil {
			return nil
		}
		return fail(call, shard)
	}
}

func (o *outbox) ReadGroups() [][]int {
	var groups [][]int
	for i := range o.shards {
		if o.alone || i == 0 {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], i)
	}
	return groups
}

func (o *outbox) Beat(_ context.Context, instance string, ttl time.Duration, wishes []schemas.ShardWish) ([]schemas.ShardLease, error) {
	fail := o.enter("beat")
	now := time.Now()
	o.server.mu.Lock()
	defer o.server.mu.Unlock()
	leases := make([]schemas.ShardLease, len(wishes))
	for i, t := range o.shards {
		if err := fail(i); err != nil {
			leases[i] = schemas.ShardLease{Shard: i, Err: err}
			continue
		}
		t.members[instance] = now.Add(ttl)
		maps.DeleteFunc(t.members, func(_ string, until time.Time) bool { return !now.Before(until) })
		if !now.Before(t.until) {
			t.owner = ""
		}
		switch {
		case wishes[i].Lease && ttl > 0 && (t.owner == "" || t.owner == instance):
			if t.owner == "" {
				t.token++
			}
			t.owner, t.until, t.offset = instance, now.Add(ttl), wishes[i].Offset
		case t.owner == instance:
			t.owner, t.until = "", now
		}
		leases[i] = schemas.ShardLease{
			Shard: i, Owned: t.owner == instance, Token: t.token, Generation: strconv.Itoa(t.generation), Owner: t.owner,
			Members: slices.Sorted(maps.Keys(t.members)),
		}
	}
	return leases, nil
}

func (o *outbox) ReadOutbox(ctx context.Context, cursors []schemas.OutboxCursor, block time.Duration, limit int) ([]schemas.OutboxBatch, error) {
	fail := o.enter("read")
	if err := fail(-1); err != nil {
		return nil, err
	}
	timer := time.NewTimer(block)
	defer timer.Stop()
	for {
		o.server.mu.Lock()
		var batches []schemas.OutboxBatch
		for _, c := range cursors {
			t := o.shards[c.Shard]
			b := schemas.OutboxBatch{Shard: c.Shard, Generation: strconv.Itoa(t.generation)}
			if b.Err = fail(c.Shard); b.Err == nil && c.After != "" && c.Generation != b.Generation {
				b.Err = errors.New("another generation")
			}
			if b.Err == nil {
				from := slices.IndexFunc(t.entries, func(e schemas.OutboxEntry) bool { return after(e.ID, c.After) })
				if from < 0 {
					continue
				}
				b.Entries = slices.Clone(t.entries[from:min(len(t.entries), from+limit)])
			}
			batches = append(batches, b)
		}
		changed := o.changed
		o.server.mu.Unlock()
		if len(batches) > 0 {
			return batches, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (o *outbox) Trim(_ context.Context, trims []schemas.OutboxTrim) []error {
	fail := o.enter("trim")
	o.server.mu.Lock()
	defer o.server.mu.Unlock()
	errs := make([]error, len(trims))
	for i, trim := range trims {
		t := o.shards[trim.Shard]
		if errs[i] = fail(trim.Shard); errs[i] != nil {
			continue
		}
		if t.token != trim.Token || strconv.Itoa(t.generation) != trim.Generation || !time.Now().Before(t.until) {
			errs[i] = fmt.Errorf("shard %d: %w", trim.Shard, schemas.ErrFenced)
			continue
		}
		n := 0
		for n < len(t.entries) && !after(t.entries[n].ID, trim.UpTo) {
			n++
		}
		t.entries = t.entries[n:]
		t.trimmed += n
	}
	return errs
}

// after reports whether id a comes after id b; every id comes after "".
func after(a, b string) bool {
	parse := func(id string) (g, n int) {
		left, right, _ := strings.Cut(id, "-")
		g, _ = strconv.Atoi(left)
		n, _ = strconv.Atoi(right)
		return g, n
	}
	ag, an := parse(a)
	bg, bn := parse(b)
	return ag > bg || ag == bg && an > bn
}
