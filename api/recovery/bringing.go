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
	// tailsAtOnce are read at the same time: so much is on its way that nothing waits when one ends.
	tailsAtOnce = 2
	// fetchWait is how long a broker waits for records that aren't there: those that are wanted are, and those of tails whose
	// turn has come wait for its answer.
	fetchWait = 10 * time.Millisecond
)

// bringing is one reading of tails.
type bringing struct {
	*opening
	records map[string]*cart.Record // carts that are held
	events  int
	carts   int
	gaps    int
}

// portion is what was read of tails, in order.
type portion struct {
	changes []change
	ended   []*tail // there is nothing after it
}

// applied is carts as Kafka has them, to be written.
type applied struct {
	records []*cart.Record
	tail    *tail // whose last carts they are: its shards are opened then; nil where more of theirs may come
	highest int64 // epoch until then
	written chan<- struct{}
}

// run reads the tails, writes the carts, and opens the shards of each tail that was read to its end.
func (b *bringing) run(ctx context.Context, tails []*tail) error {
	began := time.Now()
	if err := b.begin(ctx, tails); err != nil {
		return err
	}
	var left, none []*tail
	from := map[int32]kgo.Offset{}
	for _, t := range tails {
		if t.read() {
			none = append(none, t)
		} else {
			left, from[t.partition] = append(left, t), kgo.NewOffset().At(t.next)
		}
	}
	if len(none) > 0 {
		if err := b.brought(ctx, b.highest, none...); err != nil {
			return err
		}
	}
	if len(left) == 0 {
		return nil
	}
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.FetchMaxWait(fetchWait), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{b.Topic: from})}, b.Options...)...)
	if err != nil {
		return fmt.Errorf("read Kafka's tail: %w", err)
	}
	defer client.Close()
	silent := false
	working, ctx := errgroup.WithContext(ctx)
	portions := make(chan portion, 2) // are read and decoded while those before are applied
	working.Go(func() (err error) {
		defer close(portions)
		silent, err = b.read(ctx, client, left, portions)
		return err
	})
	writes := make(chan applied, 1) // the same for what is applied and written
	working.Go(func() error {
		defer close(writes)
		for p := range portions {
			if err := b.apply(ctx, p, writes); err != nil {
				return err
			}
		}
		if silent { // what is known of the others is worth as much if they are opened without the rest
			return b.handOn(ctx, nil, nil, writes)
		}
		return nil
	})
	working.Go(func() error {
		for w := range writes {
			if err := b.write(ctx, w); err != nil {
				return err
			}
		}
		return nil
	})
	if err := working.Wait(); err != nil {
		return err
	}
	if silent {
		return errNotRead
	}
	b.Log.InfoContext(ctx, "kafka's tail was read", "events", b.events, "carts", b.carts, "gaps", b.gaps, "took", time.Since(began))
	return nil
}

// begin notes from where on lost shards' tails are read, before any of them is written: whoever goes on with it begins no
// later, though MongoDB may have more by then.
func (b *bringing) begin(ctx context.Context, tails []*tail) error {
	if !b.lost {
		return nil
	}
	holds := map[int]int64{}
	for _, t := range tails {
		maps.Copy(holds, t.after)
	}
	return b.node.Holds(ctx, b.generation, b.state(), holds)
}

// change is a record of a shard that is being brought, after what the shard holds.
type change struct {
	schemas.CartChanged
	key, request string
}

// apply brings carts up to changes, and hands on those of tails that ended.
func (b *bringing) apply(ctx context.Context, p portion, writes chan<- applied) error {
	unknown := map[string]bool{}
	for _, c := range p.changes {
		if b.records[c.UserID] == nil {
			unknown[c.UserID] = true
		}
	}
	if err := b.load(ctx, slices.Collect(maps.Keys(unknown))); err != nil {
		return err
	}
	for _, c := range p.changes {
		b.highest = max(b.highest, c.Epoch)
		b.events++
		if b.records[c.UserID].Apply(c.CartChanged, c.key, c.request, b.Store.KeepAnswers) == schemas.Gap {
			b.gaps++
			b.Log.WarnContext(ctx, "a version is missing in kafka's tail: the cart is compared with its copy soon",
				"user", c.UserID, "epoch", c.Epoch, "version", c.Version)
		}
	}
	for _, t := range p.ended {
		if err := b.handOn(ctx, t, nil, writes); err != nil {
			return err
		}
	}
	if len(b.records) < holdCarts {
		return nil
	}
	written := make(chan struct{}) // before any of these carts is read again
	if err := b.handOn(ctx, nil, written, writes); err != nil {
		return err
	}
	select {
	case <-written:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// handOn lets go of the carts of a tail, of all where it is nil, and hands on those of which Kafka had more.
func (b *bringing) handOn(ctx context.Context, t *tail, written chan<- struct{}, writes chan<- applied) error {
	w := applied{tail: t, highest: b.highest, written: written}
	for user, r := range b.records {
		if t != nil && !t.of(b.Store.ShardOf(user)) {
			continue
		}
		if r.Touched() {
			w.records = append(w.records, r)
		}
		delete(b.records, user)
	}
	select {
	case writes <- w:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// load reads carts as their shards have them, or MongoDB, where shards lost theirs, some thousand at a time.
func (b *bringing) load(ctx context.Context, users []string) error {
	reading, ctx := errgroup.WithContext(ctx)
	reading.SetLimit(atOnce)
	var mu sync.Mutex
	for part := range slices.Chunk(users, loadCarts) {
		reading.Go(func() error {
			found, err := b.node.Records(ctx, part)
			if err == nil && b.lost {
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

// write writes carts, and opens the shards of a tail that ended with them.
func (b *bringing) write(ctx context.Context, w applied) error {
	shard := func(r *cart.Record) int { return b.Store.ShardOf(r.UserID) }
	slices.SortFunc(w.records, func(a, b *cart.Record) int { return shard(a) - shard(b) }) // one call writes carts of one shard
	writing, within := errgroup.WithContext(ctx)
	writing.SetLimit(atOnce)
	for part := range slices.Chunk(w.records, writeCarts) {
		writing.Go(func() error { return b.node.Bring(within, b.generation, b.state(), part) })
	}
	if err := writing.Wait(); err != nil {
		return err
	}
	b.carts += len(w.records)
	b.metrics.brought.Add(float64(len(w.records)))
	if w.written != nil {
		close(w.written)
	}
	if w.tail == nil {
		return nil
	}
	return b.brought(ctx, w.highest, w.tail)
}

func header(rec *kgo.Record, name string) string {
	for _, h := range rec.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}
