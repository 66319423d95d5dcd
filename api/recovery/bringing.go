package recovery

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/api/cart"
	"cartstream/schemas"
)

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
