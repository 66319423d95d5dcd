package recovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"cartstream/api/cart"
)

// What stands in Kafka after the offset up to which a shard is known to hold everything is its tail. A shard that kept its
// data knows that offset. Of one that lost it MongoDB holds all that the persist consumer has committed, whether that runs
// or not, so its tail begins there, or earlier, where the shard was being brought back before.

const (
	// quiet is how long Kafka may deliver nothing, before reading is given up and tried again.
	quiet = 5 * time.Second
	// heard is how long it is listened to at least.
	heard = 500 * time.Millisecond
	// holdCarts is how many carts are held in memory before they are written, though their tails have not ended.
	holdCarts = 15_000
)

// errNotRead: what Kafka has of a shard could not be read to its end.
var errNotRead = errors.New("kafka's tail could not be read")

// tail is the reading of one partition, for the shards whose events are in it.
type tail struct {
	partition int32
	after     map[int]int64 // by shard, the offset that it holds
	next, end int64         // to read
}

// read reports whether all of it was.
func (t *tail) read() bool { return t.next >= t.end }

// of reports whether the shard's changes stand in it.
func (t *tail) of(shard int) bool {
	_, of := t.after[shard]
	return of
}

// bring brings the closed shards up to what Kafka has, and opens each once it has all of that. The error is about those that
// are closed still.
func (o *opening) bring(ctx context.Context) error {
	shards := slices.Sorted(maps.Keys(o.closed))
	after, err := o.node.Tails(ctx, shards)
	if err != nil {
		return err
	}
	var stored map[int32]int64
	if o.lost {
		if stored, err = o.committed(ctx); err != nil { // before any document is read
			return fmt.Errorf("%w: %w", errNotRead, err)
		}
	}
	tails, err := o.plan(ctx, shards, after, stored)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotRead, err)
	}
	b := &bringing{opening: o, records: map[string]*cart.Record{}}
	if err := b.run(ctx, tails); err != nil {
		return err
	}
	if len(o.closed) > 0 {
		return errNotRead
	}
	return nil
}

// committed returns the offset up to which MongoDB holds everything, by partition; none where the group never committed.
func (r *Recovery) committed(ctx context.Context) (map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	offsets, err := r.Kafka.FetchOffsets(ctx, r.PersistGroup)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("how far %s has read: %w", r.PersistGroup, err)
	}
	found := map[int32]int64{}
	for partition, at := range offsets[r.Topic] {
		if at.Err != nil {
			return nil, fmt.Errorf("how far %s has read %s/%d: %w", r.PersistGroup, r.Topic, partition, at.Err)
		}
		found[partition] = at.At
	}
	return found, nil
}

// unheard returns nil where MongoDB holds no cart: then a topic that doesn't exist never had one.
func (r *Recovery) unheard(ctx context.Context) error {
	err := r.Carts.FindOne(ctx, bson.D{}, options.FindOne().SetProjection(bson.D{{Key: "_id", Value: 1}})).Err()
	switch {
	case errors.Is(err, mongo.ErrNoDocuments):
		return nil
	case err != nil:
		return fmt.Errorf("whether MongoDB holds carts: %w", err)
	}
	return fmt.Errorf("%s is gone, though MongoDB holds carts", r.Topic)
}

// plan asks Kafka from where to where to read for each partition. A topic that doesn't exist has nothing to read, unless
// something is known to have been in it; partitions that can't be asked are left out. stored is nil but for shards that lost
// their data.
func (r *Recovery) plan(ctx context.Context, shards []int, after map[int]int64, stored map[int32]int64) ([]*tail, error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	starts, err := r.Kafka.ListStartOffsets(ctx, r.Topic)
	if err != nil {
		return nil, fmt.Errorf("where %s begins: %w", r.Topic, err)
	}
	ends, err := r.Kafka.ListEndOffsets(ctx, r.Topic)
	if err != nil {
		return nil, fmt.Errorf("where %s ends: %w", r.Topic, err)
	}
	partitions, missing := len(ends[r.Topic]), 0
	for _, end := range ends[r.Topic] {
		if errors.Is(end.Err, kerr.UnknownTopicOrPartition) {
			missing++
		}
	}
	if partitions == missing { // a broker that has just started may not know it yet
		t := &tail{partition: -1, after: map[int]int64{}}
		for _, shard := range shards {
			t.after[shard] = -1
			if offset, known := after[shard]; known && offset >= 0 {
				return nil, fmt.Errorf("%s is gone, of which shard %d holds all up to %d", r.Topic, shard, offset)
			}
		}
		for partition, at := range stored {
			if at > 0 {
				return nil, fmt.Errorf("%s is gone, of which MongoDB holds all of partition %d before %d", r.Topic, partition, at)
			}
		}
		if stored != nil { // Kafka forgets how far a group had read of a topic, with the topic
			if err := r.unheard(ctx); err != nil {
				return nil, err
			}
		}
		return []*tail{t}, nil
	}
	byPartition := map[int32]*tail{}
	for _, shard := range shards {
		// Both follow from the user alone, and partitions divide shards.
		p := int32(shard % partitions) //nolint:gosec // Kafka numbers partitions so
		start, end := starts[r.Topic][p], ends[r.Topic][p]
		if err := errors.Join(start.Err, end.Err); err != nil {
			continue
		}
		offset, known := after[shard]
		if !known {
			offset = -1
		}
		if at := stored[p] - 1; stored != nil && (!known || at < offset) {
			offset = at
		}
		from := max(offset+1, start.Offset)
		if from > end.Offset { // the topic was made anew
			from = start.Offset
			offset = -1
		}
		t := byPartition[p]
		if t == nil {
			t = &tail{partition: p, after: map[int]int64{}, next: from, end: end.Offset}
			byPartition[p] = t
		}
		t.after[shard], t.next = offset, min(t.next, from)
	}
	tails := slices.Collect(maps.Values(byPartition))
	slices.SortFunc(tails, func(a, b *tail) int { return int(a.partition - b.partition) })
	return tails, nil
}
