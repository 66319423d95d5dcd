package recovery

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"cartstream/api/cart"
	"cartstream/schemas"
	"cartstream/schemas/bsoncart"
)

const (
	// loadCarts are read, and writeCarts written by one pipeline.
	loadCarts, writeCarts = 500, 500
	// atOnce is how many pipelines are made ready: the connection takes one after the other.
	atOnce = 2
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
	working, ctx := errgroup.WithContext(ctx)
	batches := make(chan []change, 2) // are read and decoded while those before are applied
	working.Go(func() (err error) {
		defer close(batches)
		silent, err = b.read(ctx, client, open, batches)
		return err
	})
	working.Go(func() error {
		for batch := range batches {
			if err := b.apply(ctx, batch); err != nil {
				return err
			}
		}
		return b.write(ctx)
	})
	if err := working.Wait(); err != nil {
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

// read hands on the changes of open partitions. Those that are read to their end leave open. It reports whether Kafka fell
// silent before all were.
func (b *bringing) read(ctx context.Context, client *kgo.Client, open map[int32]*tail, batches chan<- []change) (silent bool, err error) {
	for len(open) > 0 {
		waiting, cancel := context.WithTimeoutCause(ctx, quiet, errNotRead)
		fetches := client.PollRecords(waiting, 5000)
		cancel()
		if fetches.NumRecords() == 0 {
			if waiting.Err() != nil && fetches.Err() != nil {
				return true, nil
			}
			continue
		}
		select {
		case batches <- b.changes(ctx, fetches, open):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return false, nil
}

// changes are those that were fetched and are wanted.
func (b *bringing) changes(ctx context.Context, fetches kgo.Fetches, open map[int32]*tail) []change {
	changes := make([]change, 0, fetches.NumRecords())
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
	})
	return changes
}

// apply brings carts up to changes.
func (b *bringing) apply(ctx context.Context, changes []change) error {
	unknown := map[string]bool{}
	for _, c := range changes {
		if b.records[c.UserID] == nil {
			unknown[c.UserID] = true
		}
	}
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
		return nil
	}
	return b.write(ctx)
}

// load reads carts as their shards have them, or MongoDB, where shards lost theirs, some thousand at a time.
func (b *bringing) load(ctx context.Context, users []string) error {
	reading, ctx := errgroup.WithContext(ctx)
	reading.SetLimit(atOnce)
	var mu sync.Mutex
	for part := range slices.Chunk(users, loadCarts) {
		reading.Go(func() error {
			found, err := b.node.Records(ctx, part)
			if err == nil && b.state == cart.RaisingLost {
				err = b.stored(ctx, part, found)
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(b.records, found)
			return nil
		})
	}
	return reading.Wait()
}

// stored brings carts up to what MongoDB has of them.
func (b *bringing) stored(ctx context.Context, users []string, carts map[string]*cart.Record) error {
	ctx, cancel := context.WithTimeout(ctx, 2*askFor)
	defer cancel()
	documents, err := b.Carts.Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: users}}}}, options.Find().SetBatchSize(loadCarts))
	if err != nil {
		return fmt.Errorf("read stored carts: %w", err)
	}
	defer documents.Close(ctx) //nolint:errcheck // read to its end or given up
	for documents.Next(ctx) {
		var c schemas.Cart
		if err := bsoncart.Decode(documents.Current, &c); err != nil {
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
	shard := func(r *cart.Record) int { return b.Store.ShardOf(r.UserID) }
	slices.SortFunc(more, func(a, b *cart.Record) int { return shard(a) - shard(b) }) // one call writes carts of one shard
	writing, within := errgroup.WithContext(ctx)
	writing.SetLimit(atOnce)
	for part := range slices.Chunk(more, writeCarts) {
		writing.Go(func() error { return b.node.Bring(within, b.generation, b.state, part) })
	}
	if err := writing.Wait(); err != nil {
		return err
	}
	b.carts += len(more)
	b.metrics.brought.Add(float64(len(more)))
	clear(b.records)
	return nil
}

func header(rec *kgo.Record, name string) string {
	for _, h := range rec.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}
