package schemas

import "errors"

// What the relay and the outbox in Redis tell each other. An outbox is one Redis stream a shard; its entries are ordered
// by id, "<generation>-<number>".

// OutboxEntry is one record that waits in an outbox for Kafka.
type OutboxEntry struct {
	ID      string
	Topic   string
	Key     string
	Value   []byte
	Headers []Header
}

// OutboxCursor says from where to read a shard's outbox.
type OutboxCursor struct {
	Shard int
	// After is the id of the last entry that is known; "" starts at the head.
	After string
	// Generation is the one under which After was read, "" for the head. It is refused under another.
	Generation string
}

// OutboxBatch is what one read found in a shard's outbox, in order.
type OutboxBatch struct {
	Shard      int
	Generation string
	Entries    []OutboxEntry
	// Err, where set, is why this shard could not be read; its cursor must start at the head again.
	Err error
}

// OffsetForgotten makes a shard forget what it knew of its partition: offsets of a topic that is gone mean something else in
// the new one.
const OffsetForgotten = -2

// ShardWish is what an instance says of one shard in a heartbeat.
type ShardWish struct {
	// Lease says that it wants to take or keep the lease.
	Lease bool
	// Offset of the newest record that it knows of in the shard's partition of CartEvents, -1 for none, OffsetForgotten where
	// the topic was made anew. Every record up to it was made of what Redis held before.
	Offset int64
}

// ShardLease is what one heartbeat found for one shard.
type ShardLease struct {
	Shard int
	// Owned says that the lease is this instance's until its time to live ends.
	Owned bool
	// Token is the lease's fencing token. It grows with each new owner.
	Token int64
	// Generation of the shard under which the lease was given.
	Generation string
	// Owner is the instance that holds the lease, "" where none does.
	Owner string
	// Members are the instances whose heartbeat is recent, sorted.
	Members []string
	// Err, where set, is why the shard could not be asked; nothing else is known then.
	Err error
}

// OutboxTrim says how far Kafka has a shard's outbox.
type OutboxTrim struct {
	Shard int
	// Token and Generation of the lease under which the entries were read.
	Token      int64
	Generation string
	// UpTo is the id of the newest entry that Kafka acknowledged, with all before it.
	UpTo string
}

// ErrFenced says that a lease or a generation belongs to somebody else by now: what was to be done must not be, ever.
var ErrFenced = errors.New("fenced")
