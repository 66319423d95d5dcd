package runner

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Transactional is a declared consumer whose work is to produce records: they, its dead letters and its offsets are one
// transaction. A letter that can't be written with it is the Parker's, stored before the transaction begins. A member that lost its partition meanwhile can commit none of them, so it can't publish something older
// after the new owner published something newer. Whoever reads the topics it writes must read committed.
type Transactional[T any] struct {
	// Group, Topics and Decode are those of Consumer.
	Group  string
	Topics []string
	Decode func(value []byte) (T, error)
	// Handle returns the records to produce for a batch: records of several partitions, those of each in order. Errors
	// mean what they mean for a Consumer. It may be called again for the same records, with other batches: of what it
	// returned, only what was committed counts.
	//
	// ctx ends 30 s after the call, or 5 s after the process was told to stop. A rebalance waits for nothing: what was
	// in hand comes to nothing.
	Handle func(ctx context.Context, batch []Record[T]) ([]*kgo.Record, error)
	// Heal, where set, returns the records to produce, in the same transaction, for a record that becomes a dead letter.
	// An error is tried again like one of Handle; Permanent is logged and given up, and so is Refused.
	Heal func(ctx context.Context, parked *kgo.Record) ([]*kgo.Record, error)
	// MaxBatch is the most records of a transaction; 0 is 1,000.
	MaxBatch int
}

const (
	// transactionTimeout bounds how long a transaction of a process that died holds up those who read committed.
	transactionTimeout = 10 * time.Second
	// produceTimeout is for the records of a transaction.
	produceTimeout = 5 * time.Second
	// endTimeout is for its end, which waits for a rebalance under way.
	endTimeout = 15 * time.Second
	// outputBytes is the largest batch of records for any other topic than that of dead letters.
	outputBytes = 4 << 20
)

// Name is the consumer's group.
func (c Transactional[T]) Name() string { return c.Group }

func (c Transactional[T]) check() error {
	plain := Consumer[T]{Group: c.Group, Topics: c.Topics, Decode: c.Decode, MaxBatch: c.MaxBatch}
	if c.Handle != nil {
		plain.Handle = func(context.Context, []Record[T]) error { return nil }
	}
	return plain.check()
}

func (c Transactional[T]) build(p parts) loop {
	h := handler[T]{log: p.log, retries: p.meter.retries, decode: c.Decode, handle: c.Handle}
	t := &transactor{
		parts: p, topics: c.Topics, batch: defaultBatch, process: p.traced(h.process),
		// One of this process alone: two with the same would fence each other.
		id:    "cartstream-" + c.Group + "-" + rand.Text(),
		asked: make(chan asked),
	}
	if c.MaxBatch > 0 {
		t.batch = c.MaxBatch
	}
	if c.Heal != nil {
		t.heal = c.Heal
	}
	return t
}
