package relay

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/schemas"
)

// Bounds of a round. With those of a shard's queue they make about 1 MiB a shard the most that an instance holds while
// Kafka is away, but for entries that are larger than that alone.
const (
	roundEntries = 500
	roundBytes   = 512 << 10
)

// round is what a shard has with Kafka: the front of its queue, sent together. The next round waits until each record of
// this one has an answer.
type round struct {
	shard       *shard
	entries     []schemas.OutboxEntry
	token       int64 // of the lease under which the entries were read
	generation  string
	incarnation uint64
	started     time.Time

	client *kgo.Client
	flight flight
	left   atomic.Int64 // answers to come, and one while it is being sent
	done   chan<- *round

	mu     sync.Mutex
	failed int // the first entry whose record failed, len(entries) where none did
	err    error
	offset int64 // of the newest acknowledged record in CartEvents, -1 where there is none
}

// send hands the records to the client and returns without waiting for Kafka. When all that it handed over have their
// answer, the round is on done.
func (r *round) send(client *kgo.Client) {
	r.client, r.failed, r.offset = client, len(r.entries), -1
	r.flight.records, r.flight.entries = make([]kgo.Record, len(r.entries)), r.entries
	r.flight.batch = make(map[string]uint64, len(r.entries))
	// Not the relay's context: a record that was sent can't be called back, and failing one fails those of other shards.
	ctx := context.WithValue(context.Background(), flightKey{}, &r.flight)
	r.fill(ctx)
	r.left.Store(1)
	answer := r.answer
	for i := range r.flight.records {
		if r.flight.ended.Load() {
			break
		}
		r.left.Add(1)
		client.TryProduce(ctx, &r.flight.records[i], answer)
	}
	r.finish()
}

// fill makes the entries records. What they hold of keys and headers lies side by side: allocated one by one, it would be
// most of what a drain allocates.
func (r *round) fill(ctx context.Context) {
	texts, headers := 0, 0
	for i := range r.entries {
		e := &r.entries[i]
		texts, headers = texts+len(e.Key), headers+len(e.Headers)
		for _, h := range e.Headers {
			texts += len(h.Value)
		}
	}
	text, header := make([]byte, 0, texts), make([]kgo.RecordHeader, headers)
	bytes := func(s string) []byte {
		from := len(text)
		text = append(text, s...)
		return text[from:len(text):len(text)]
	}
	for i := range r.entries {
		e, record := &r.entries[i], &r.flight.records[i]
		record.Topic, record.Key, record.Value, record.Context = e.Topic, bytes(e.Key), e.Value, ctx
		n := len(e.Headers)
		record.Headers, header = header[:n:n], header[n:] // nobody's headers grow into another's
		for j, h := range e.Headers {
			record.Headers[j] = kgo.RecordHeader{Key: h.Key, Value: bytes(h.Value)}
		}
	}
}

func (r *round) answer(record *kgo.Record, err error) {
	r.mu.Lock()
	switch {
	case err != nil:
		for i := range r.failed {
			if record == &r.flight.records[i] {
				r.failed, r.err = i, err
				break
			}
		}
	case record.Topic == schemas.CartEvents:
		r.offset = max(r.offset, record.Offset)
	}
	r.mu.Unlock()
	r.finish()
}

func (r *round) finish() {
	if r.left.Add(-1) == 0 {
		r.done <- r
	}
}

// outcome returns how many entries, from the front, Kafka has. After an error it is none: some may be there, but which
// can't be told. It is asked when all have their answer.
func (r *round) outcome() (int, error) {
	if r.failed < r.flight.admitted || r.flight.admitted == 0 {
		return 0, r.err
	}
	return r.flight.admitted, nil
}

// size returns about how much memory the entry takes, which is more than its record takes in a batch.
func size(e schemas.OutboxEntry) int {
	n := 128 + len(e.Key) + len(e.Value)
	for _, h := range e.Headers {
		n += 48 + len(h.Key) + len(h.Value)
	}
	return n
}
