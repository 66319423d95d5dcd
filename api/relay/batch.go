package relay

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/schemas"
)

// The rule that keeps a user's order: all of a user's records in flight stand in one batch.
//
// Kafka appends a batch whole or not at all. So whatever becomes of a round, in whatever order its batches are appended,
// refused or repeated, no version of a user can get there before a lower one. The producer's sequence numbers alone don't
// give that: after an error that ends a batch, the client fails what it holds of the partition, but takes what the round
// goes on to hand it a moment later; and a broker that has forgotten an idle producer takes any sequence number.
//
// The client tells a partitioner when a record would open a new batch, which is where the rule is kept: a record whose
// user already has one in an earlier batch is refused, and its round ends there. It goes on when that is acknowledged.

// refused is no partition: the client fails the record at once, without sending it.
const refused = -1

// partitioner places records as Kafka's default partitioner does, and keeps the rule above.
type partitioner struct{}

// ForTopic implements kgo.Partitioner.
func (partitioner) ForTopic(string) kgo.TopicPartitioner {
	return &topicPartitioner{batches: make(map[int]uint64)}
}

// topicPartitioner is asked about one record at a time, says kgo: first whether it may join the newest batch of its
// partition, then, where it would have to open a new one, OnNewBatch and once more.
type topicPartitioner struct {
	batches map[int]uint64 // by partition, how many batches were opened
	last    int
	opens   bool
}

// RequiresConsistency implements kgo.TopicPartitioner: a user's partition never depends on which leaders are up.
func (*topicPartitioner) RequiresConsistency(*kgo.Record) bool { return true }

// OnNewBatch implements kgo.TopicPartitionerOnNewBatch.
func (t *topicPartitioner) OnNewBatch() {
	t.batches[t.last]++
	t.opens = true
}

// Partition implements kgo.TopicPartitioner.
func (t *topicPartitioner) Partition(r *kgo.Record, n int) int {
	opens := t.opens
	t.opens = false
	t.last = schemas.Partition(string(r.Key), n)
	f, ok := r.Context.Value(flightKey{}).(*flight)
	if !ok || !f.admit(r, t.batches[t.last], opens) {
		return refused
	}
	return t.last
}

type flightKey struct{}

// flight watches how the records of one round, which are all of one topic, are admitted to batches, in order. It is used
// under the client's lock of the topic's partitioner; but for ended, it is read when all have their answer.
type flight struct {
	records  []kgo.Record
	entries  []schemas.OutboxEntry // what the records were made of
	admitted int                   // how many of them, from the front, stand in a batch
	batch    map[string]uint64     // by user, the batch that the user's records stand in
	again    bool                  // the newest admitted isn't its user's first
	ended    atomic.Bool           // no more are admitted
}

// admit reports whether r may stand in the batch: as the next of its round, in no other batch than its user's others. It
// is asked again, with opens, about a record that it has admitted where that opens the batch.
func (f *flight) admit(r *kgo.Record, batch uint64, opens bool) bool {
	switch {
	case f.ended.Load():
	case opens && f.admitted > 0 && r == &f.records[f.admitted-1]:
		if !f.again {
			f.batch[f.entries[f.admitted-1].Key] = batch
			return true
		}
		f.admitted--
	case !opens && f.admitted < len(f.records) && r == &f.records[f.admitted]:
		user := f.entries[f.admitted].Key
		var b uint64
		if b, f.again = f.batch[user]; !f.again || b == batch {
			f.batch[user] = batch
			f.admitted++
			return true
		}
	}
	f.ended.Store(true)
	return false
}
