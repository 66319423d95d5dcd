package recovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// A shard that kept its data may still lack the last of it, which Kafka has. Its tail is what stands in Kafka after the
// offset up to which the shard is known to hold everything.

const (
	// quiet is how long Kafka may deliver nothing, before reading is given up and tried again.
	quiet = 5 * time.Second
	// holdCarts is how many carts are held in memory before they are written.
	holdCarts = 10_000
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

// bring brings the shards, all of which are raising under g, up to what Kafka has. It returns the offset that each shard
// holds then, for those whose tail was read to its end, and the highest epoch that was found. The error is about the others.
func (r *Recovery) bring(ctx context.Context, n *cart.Node, g cart.Generation, shards []int) (held map[int]int64, highest int64, err error) {
	if len(shards) == 0 {
		return nil, 0, nil
	}
	after, err := n.Tails(ctx, shards)
	if err != nil {
		return nil, 0, err
	}
	tails, err := r.plan(ctx, after)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errNotRead, err)
	}
	b := &bringing{Recovery: r, node: n, generation: g, records: map[string]*cart.Record{}, renewed: time.Now()}
	err = b.run(ctx, tails)
	held = map[int]int64{}
	for _, t := range tails {
		if t.read() {
			for shard := range t.after {
				held[shard] = t.end - 1
			}
		}
	}
	if err == nil && len(held) < len(shards) {
		err = errNotRead
	}
	return held, b.highest, err
}

// plan asks Kafka from where to where to read for each partition. A topic that doesn't exist has nothing to read; partitions
// that can't be asked are left out.
func (r *Recovery) plan(ctx context.Context, after map[int]int64) ([]*tail, error) {
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
	if partitions == missing {
		for shard, offset := range after {
			if offset >= 0 { // a broker that has just started may not know it yet
				return nil, fmt.Errorf("%s is gone, of which shard %d holds all up to %d", r.Topic, shard, offset)
			}
		}
		return []*tail{{partition: -1, after: after}}, nil
	}
	byPartition := map[int32]*tail{}
	for shard, offset := range after {
		// Both follow from the user alone, and partitions divide shards.
		p := int32(shard % partitions) //nolint:gosec // Kafka numbers partitions so
		start, end := starts[r.Topic][p], ends[r.Topic][p]
		if err := errors.Join(start.Err, end.Err); err != nil {
			continue
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
	return slices.Collect(maps.Values(byPartition)), nil
}

// bringing is one reading of tails.
type bringing struct {
	*Recovery
	node       *cart.Node
	generation cart.Generation
	records    map[string]*cart.Record // carts that are held
	highest    int64
	events     int
	carts      int
	gaps       int
	renewed    time.Time
}

// run reads the tails and writes the carts.
func (b *bringing) run(ctx context.Context, tails []*tail) error {
	began := time.Now()
	open := map[int32]*tail{}
	from := map[int32]kgo.Offset{}
	for _, t := range tails {
		if !t.read() {
			open[t.partition], from[t.partition] = t, kgo.NewOffset().At(t.next)
		}
	}
	if len(open) == 0 {
		return nil
	}
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.FetchMaxWait(250 * time.Millisecond), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{b.Topic: from})}, b.Options...)...)
	if err != nil {
		return fmt.Errorf("read Kafka's tail: %w", err)
	}
	defer client.Close()
	for len(open) > 0 {
		waiting, cancel := context.WithTimeoutCause(ctx, quiet, errNotRead)
		fetches := client.PollRecords(waiting, 5000)
		cancel()
		if fetches.NumRecords() == 0 {
			if err := context.Cause(waiting); waiting.Err() != nil && err != nil && fetches.Err() != nil {
				return errors.Join(err, b.write(ctx))
			}
			continue
		}
		if err := b.take(ctx, fetches, open); err != nil {
			return err
		}
	}
	if err := b.write(ctx); err != nil {
		return err
	}
	b.Log.InfoContext(ctx, "kafka's tail was read", "events", b.events, "carts", b.carts, "gaps", b.gaps, "took", time.Since(began))
	return nil
}

// change is a record of a shard that is being brought, after what the shard holds.
type change struct {
	schemas.CartChanged
	key, request string
}

// take applies what was fetched. Partitions that are read to their end leave open.
func (b *bringing) take(ctx context.Context, fetches kgo.Fetches, open map[int32]*tail) error {
	var changes []change
	unknown := map[string]bool{}
	fetches.EachRecord(func(rec *kgo.Record) {
		t := open[rec.Partition]
		if t == nil {
			return
		}
		if t.next = rec.Offset + 1; t.read() {
			defer delete(open, rec.Partition)
		}
		user := string(rec.Key)
		offset, wanted := t.after[b.Store.ShardOf(user)]
		if rec.Offset >= t.end || !wanted || rec.Offset <= offset || rec.Attrs.IsControl() {
			return
		}
		c, err := schemas.DecodeCartChanged(rec.Value)
		if err != nil || c.UserID != user {
			b.Log.WarnContext(ctx, "a record of the tail is no change of a cart", "partition", rec.Partition, "offset", rec.Offset, "error", err)
			return
		}
		changes = append(changes, change{c, header(rec, schemas.HeaderIdempotency), header(rec, schemas.HeaderRequest)})
		if b.records[user] == nil {
			unknown[user] = true
		}
	})
	if err := b.load(ctx, slices.Collect(maps.Keys(unknown))); err != nil {
		return err
	}
	for _, c := range changes {
		b.highest = max(b.highest, c.Epoch)
		b.events++
		if b.records[c.UserID].Apply(c.CartChanged, c.key, c.request, b.Store.KeepAnswers) == schemas.Gap {
			b.gaps++
			b.Log.WarnContext(ctx, "a version is missing in kafka's tail: the cart is compared with its copy soon",
				"user", c.UserID, "epoch", c.Epoch, "version", c.Version)
		}
	}
	if len(b.records) < holdCarts {
		return b.renew(ctx)
	}
	return b.write(ctx)
}

// load reads carts as their shards have them, some hundred at a time.
func (b *bringing) load(ctx context.Context, users []string) error {
	for part := range slices.Chunk(users, 500) {
		found, err := b.node.Records(ctx, part)
		if err != nil {
			return err
		}
		maps.Copy(b.records, found)
	}
	return nil
}

// write writes the carts of which Kafka had more, and lets go of all.
func (b *bringing) write(ctx context.Context) error {
	var more []*cart.Record
	for _, r := range b.records {
		if r.Touched() {
			more = append(more, r)
		}
	}
	for part := range slices.Chunk(more, 100) {
		if err := b.renew(ctx); err != nil {
			return err
		}
		if err := b.node.Bring(ctx, b.generation, cart.Raising, part); err != nil {
			return err
		}
	}
	b.carts += len(more)
	b.metrics.brought.Add(float64(len(more)))
	clear(b.records)
	return nil
}

// renew keeps the node's lease.
func (b *bringing) renew(ctx context.Context) error {
	if time.Since(b.renewed) < leaseFor/3 {
		return nil
	}
	leads, err := b.node.Lead(ctx, b.Instance, leaseFor)
	if err == nil && !leads {
		err = cart.ErrOvertaken
	}
	b.renewed = time.Now()
	return err
}

func header(rec *kgo.Record, name string) string {
	for _, h := range rec.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}
