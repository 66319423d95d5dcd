package runner

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Record is a Kafka record with its value decoded. The original bytes are in Record.Record.Value.
type Record[T any] struct {
	*kgo.Record
	Value T

	held *bool // see Hold
}

// Consumer is a declared consumer: what it reads and what it does with it. The Runner does the rest.
type Consumer[T any] struct {
	// Group is the consumer group, and the consumer's name everywhere else.
	Group string
	// Topics that the group reads, from the earliest offset where it has none yet. One that doesn't exist is waited for.
	Topics []string
	// Decode reads a record's value; an error is permanent. It never sees a null value, which is undecodable by itself,
	// unless Nulls is set.
	Decode func(value []byte) (T, error)
	// Nulls says that a null value is one like others: Decode sees it as nil.
	Nulls bool
	// Handle does the work for a batch: records of one partition, in order, never empty. No two batches of a partition
	// are handled at once, so the order of a key is kept. It returns nil when all of it is done, Permanent(err) when a
	// record can never be, or any other error to be called again with the same records; what counts as an attempt is
	// marked with Refused. A batch may come again, whole or in part, also after nil, when a process dies before it
	// commits: Handle must be idempotent.
	//
	// ctx ends 30 s after the call, 5 s after a rebalance took the partition away or the process was told to stop, at
	// once where the group gave the partition away without asking. A Handle that ignores that is left behind 3 s later:
	// its outcome no longer counts, and another member may already be at the same records.
	Handle func(ctx context.Context, batch []Record[T]) error
	// Heal, where set, is called for a record that was parked, after its letter was stored and before its offset is
	// committed: it repairs what the record would have changed. An error is tried again like one of Handle; Permanent, or
	// the tenth Refused, is logged and given up, since the letter tells the rest.
	Heal func(ctx context.Context, parked *kgo.Record) error
	// Concurrency is how many batches are handled at once, over all partitions; 0 is one a partition.
	Concurrency int
	// MaxBatch is the most records of a batch; 0 is 1,000. A batch also ends before 4 MiB of keys and values.
	MaxBatch int
}

// Runnable is a consumer of any type: a Consumer or a Transactional.
type Runnable interface {
	// Name is the consumer's group.
	Name() string

	check() error
	// build returns what runs it until its ctx ends.
	build(p parts) loop
}

// loop runs one consumer.
type loop interface {
	// run returns nil after a drain, or an error that no waiting can cure.
	run(ctx context.Context) error
	// lag is for how long the oldest record in hand has been waiting since it was written, in seconds.
	lag() float64
	// replays reports whether a letter of this partition can be replayed here, now.
	replays(at place) bool
	// replay is Runner.Replay for a letter of the consumer's group.
	replay(ctx context.Context, l *Letter) error
}

// Name is the consumer's group.
func (c Consumer[T]) Name() string { return c.Group }

func (c Consumer[T]) check() error {
	switch {
	case c.Group == "":
		return errors.New("a consumer without a group")
	case len(c.Topics) == 0:
		return fmt.Errorf("consumer %s: no topics", c.Group)
	case c.Decode == nil || c.Handle == nil:
		return fmt.Errorf("consumer %s: Decode and Handle are needed", c.Group)
	case c.Concurrency < 0 || c.MaxBatch < 0:
		return fmt.Errorf("consumer %s: a negative limit", c.Group)
	}
	return nil
}

func (c Consumer[T]) build(p parts) loop {
	h := handler[T]{log: p.log, retries: p.meter.retries, decode: c.Decode, nulls: c.Nulls}
	h.handle = func(ctx context.Context, batch []Record[T]) ([]*kgo.Record, error) { return nil, c.Handle(ctx, batch) }
	limit := defaultBatch
	if c.MaxBatch > 0 {
		limit = c.MaxBatch
	}
	p.gate.limit(c.Concurrency)
	g := &group{parts: p, topics: c.Topics, batch: limit, process: p.traced(h.process), workers: map[place]*worker{}}
	if c.Heal != nil {
		g.heal = c.Heal
	}
	return g
}
