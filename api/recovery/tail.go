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
	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// What stands in Kafka after the offset up to which a shard is known to hold everything is its tail. A shard that kept its
// data knows that offset. Of one that lost it MongoDB holds all that the persist consumer has committed, whether that runs
// or not, so its tail begins there, or earlier, where the shard was being brought back before.

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
	brought   bool          // all of it was read and written
}

// read reports whether all of it was.
func (t *tail) read() bool { return t.next >= t.end }

// bring brings the shards, all of which are in that state under g, up to what Kafka has. It returns the offset that each
// shard holds then, for those whose tail was read to its end, and the highest epoch that was found. The error is about the
// others.
func (r *Recovery) bring(ctx context.Context, n *cart.Node, g cart.Generation, state cart.State, shards []int) (held map[int]int64, highest int64, err error) {
	after, err := n.Tails(ctx, shards)
	if err != nil {
		return nil, 0, err
	}
	var stored map[int32]int64
	if state == cart.RaisingLost {
		if stored, err = r.committed(ctx); err != nil { // before any document is read
			return nil, 0, fmt.Errorf("%w: %w", errNotRead, err)
		}
	}
	tails, err := r.plan(ctx, shards, after, stored)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errNotRead, err)
	}
	b := &bringing{Recovery: r, node: n, generation: g, state: state, records: map[string]*cart.Record{}, renewed: time.Now()}
	err = b.run(ctx, tails)
	held = map[int]int64{}
	for _, t := range tails {
		if t.brought {
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
	return slices.Collect(maps.Values(byPartition)), nil
}

// bringing is one reading of tails.
type bringing struct {
	*Recovery
	node       *cart.Node
	generation cart.Generation
	state      cart.State
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
		if err := b.begin(ctx, t); err != nil {
			return err
		}
		if t.read() {
			t.brought = true
		} else {
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
	silent := false
	for len(open) > 0 && !silent {
		waiting, cancel := context.WithTimeoutCause(ctx, quiet, errNotRead)
		fetches := client.PollRecords(waiting, 5000)
		cancel()
		if fetches.NumRecords() == 0 {
			silent = waiting.Err() != nil && fetches.Err() != nil
			continue
		}
		if err := b.take(ctx, fetches, open); err != nil {
			return err
		}
	}
	if err := b.write(ctx); err != nil {
		return err
	}
	for _, t := range tails {
		t.brought = t.read()
	}
	if silent {
		return errNotRead
	}
	b.Log.InfoContext(ctx, "kafka's tail was read", "events", b.events, "carts", b.carts, "gaps", b.gaps, "took", time.Since(began))
	return nil
}

// begin notes from where on a lost shard's tail is read, before any of it is written: whoever goes on with it begins no
// later, though MongoDB may have more by then.
func (b *bringing) begin(ctx context.Context, t *tail) error {
	if b.state != cart.RaisingLost {
		return nil
	}
	for shard, offset := range t.after {
		if err := b.node.Holds(ctx, shard, b.generation, b.state, offset); err != nil {
			return err
		}
	}
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

// load reads carts as their shards have them, or MongoDB, where shards lost theirs, some hundred at a time.
func (b *bringing) load(ctx context.Context, users []string) error {
	for part := range slices.Chunk(users, 500) {
		found, err := b.node.Records(ctx, part)
		if err != nil {
			return err
		}
		if b.state == cart.RaisingLost {
			if err := b.stored(ctx, part, found); err != nil {
				return err
			}
			if err := b.renew(ctx); err != nil {
				return err
			}
		}
		maps.Copy(b.records, found)
	}
	return nil
}

// stored brings carts up to what MongoDB has of them.
func (b *bringing) stored(ctx context.Context, users []string, carts map[string]*cart.Record) error {
	ctx, cancel := context.WithTimeout(ctx, 2*askFor)
	defer cancel()
	documents, err := b.Carts.Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: users}}}})
	if err != nil {
		return fmt.Errorf("read stored carts: %w", err)
	}
	defer documents.Close(ctx) //nolint:errcheck // read to its end or given up
	for documents.Next(ctx) {
		var c schemas.Cart
		if err := documents.Decode(&c); err != nil {
			b.Log.ErrorContext(ctx, "a stored cart can't be read and is left out", "error", err)
			continue
		}
		carts[c.UserID].Store(c)
	}
	if err := documents.Err(); err != nil {
		return fmt.Errorf("read stored carts: %w", err)
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
		if err := b.node.Bring(ctx, b.generation, b.state, part); err != nil {
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
