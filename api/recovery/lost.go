package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// A lost shard's carts come back from MongoDB, once that holds every change that Kafka had when the loss was seen.

const (
	// askFor bounds one question to MongoDB or Kafka.
	askFor = 2 * time.Second
	// sweepers put back carts at the same time, so that they share pipelines.
	sweepers = 64
)

var (
	// errBehind: MongoDB doesn't yet hold every change that Kafka has.
	errBehind = errors.New("persist has not stored every change yet")
	// errSilent: whether it does can't be told.
	errSilent = errors.New("kafka does not answer")
)

// tails remembers, while shards are lost, how far Kafka's log reached when the loss was seen, and whether MongoDB has
// caught up with that.
type tails struct {
	asking singleflight.Group // whoever needs to know shares a question; nobody else waits for it

	mu         sync.Mutex
	lost       int             // shards that lost their data
	generation int64           // the newest under which some did
	ends       map[int32]int64 // nil: not seen yet
	stored     bool
}

// saw notes shards that lost their data. Where one did so under a new generation, Kafka's log is looked at anew.
func (t *tails) saw(lost []found) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost = max(t.lost, len(lost))
	for _, f := range lost {
		t.reach(f.Number)
	}
}

// reach forgets what was known of older generations. The caller holds mu.
func (t *tails) reach(generation int64) {
	if generation > t.generation {
		t.generation, t.ends, t.stored = generation, nil, false
	}
}

// under returns what is known where a shard is lost under that generation: the newest one known, which stands for those
// before it too, and what was seen under it.
func (t *tails) under(generation int64) (newest int64, ends map[int32]int64, stored bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reach(generation)
	return t.generation, t.ends, t.stored
}

// note remembers what was seen, unless another loss came between.
func (t *tails) note(generation int64, ends map[int32]int64, stored bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if generation == t.generation {
		t.ends, t.stored = ends, stored
	}
}

// settle notes how many shards are lost when all nodes were looked at.
func (t *tails) settle(lost int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost = lost
}

// waiting returns how many shards are lost, and how many of them can't be served yet.
func (t *tails) waiting() (lost, closed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stored {
		return t.lost, 0
	}
	return t.lost, t.lost
}

// Count returns how many shards this process can serve, and how many it can't: those without a generation that it
// knows, and those that lost their data while MongoDB doesn't hold everything yet.
func (r *Recovery) Count() (ready, recovering int) {
	ready, recovering = r.Store.Count()
	_, closed := r.tails.waiting()
	closed = min(closed, ready)
	return ready - closed, recovering + closed
}

// caughtUp returns nil once MongoDB holds what Kafka had when the loss under that generation was seen.
func (r *Recovery) caughtUp(ctx context.Context, generation int64) error {
	generation, ends, stored := r.tails.under(generation)
	if stored {
		return nil
	}
	if r.AcceptLoss {
		r.tails.note(generation, ends, true)
		return nil
	}
	asked := r.tails.asking.DoChan(strconv.FormatInt(generation, 10), func() (any, error) {
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), askFor)
		defer cancel()
		return nil, r.compare(asking, generation, ends)
	})
	waiting, cancel := context.WithTimeoutCause(ctx, askFor, errSilent) // a silent broker holds up a question for longer
	defer cancel()
	select {
	case a := <-asked:
		return a.Err
	case <-waiting.Done():
		return context.Cause(waiting)
	}
}

// compare asks Kafka whether PersistGroup has read up to ends, which it looks for where they are nil.
func (r *Recovery) compare(ctx context.Context, generation int64, ends map[int32]int64) (err error) {
	if ends == nil {
		if ends, err = r.ends(ctx); err != nil {
			return err
		}
		r.tails.note(generation, ends, len(ends) == 0)
	}
	if len(ends) == 0 {
		return nil
	}
	committed, err := r.Kafka.FetchOffsets(ctx, r.PersistGroup)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return errBehind
	}
	if err != nil {
		return fmt.Errorf("how far %s has read: %w", r.PersistGroup, err)
	}
	for partition, end := range ends {
		at, ok := committed.Lookup(r.Topic, partition)
		if !ok || at.At < end {
			return errBehind
		}
	}
	r.tails.note(generation, ends, true)
	return nil
}

// ends returns the end of each partition that holds records. No topic yet, no records.
func (r *Recovery) ends(ctx context.Context) (map[int32]int64, error) {
	starts, err := r.Kafka.ListStartOffsets(ctx, r.Topic)
	if err != nil {
		return nil, fmt.Errorf("where %s begins: %w", r.Topic, err)
	}
	last, err := r.Kafka.ListEndOffsets(ctx, r.Topic)
	if err != nil {
		return nil, fmt.Errorf("where %s ends: %w", r.Topic, err)
	}
	ends := map[int32]int64{}
	for partition, end := range last[r.Topic] {
		start := starts[r.Topic][partition]
		err := errors.Join(start.Err, end.Err)
		switch {
		case errors.Is(err, kerr.UnknownTopicOrPartition):
		case err != nil:
			return nil, fmt.Errorf("where %s/%d begins and ends: %w", r.Topic, partition, err)
		case end.Offset > start.Offset:
			ends[partition] = end.Offset
		}
	}
	return ends, nil
}

// highestEpoch returns the highest epoch that MongoDB knows, where one of the shards is lost and might otherwise be
// given a lower one by a clock that went back.
func (r *Recovery) highestEpoch(ctx context.Context, shards []found) (int64, error) {
	if !slices.ContainsFunc(shards, found.lost) {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*askFor) // reads the whole collection
	defer cancel()
	var newest schemas.Cart
	err := r.Carts.FindOne(ctx, bson.D{}, options.FindOne().
		SetSort(bson.D{{Key: "epoch", Value: -1}}).SetProjection(bson.D{{Key: "epoch", Value: 1}})).Decode(&newest)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return 0, fmt.Errorf("the highest epoch in MongoDB: %w", err)
	}
	return newest.Epoch, nil
}

// Restore brings back one user's cart, or notes that there is none. It returns an error while MongoDB can't be asked,
// or doesn't hold yet what Kafka has, and where another loss came after the one under g.
func (r *Recovery) Restore(ctx context.Context, user string, g cart.Generation) error {
	if err := r.caughtUp(ctx, g.Number); err != nil {
		return err
	}
	ask, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	c := schemas.Cart{UserID: user}
	err := r.Carts.FindOne(ask, bson.D{{Key: "_id", Value: user}}).Decode(&c)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return fmt.Errorf("read the stored cart of %s: %w", user, err)
	}
	return r.Store.PutBack(ctx, g, c)
}

// sweep brings back every cart of the lost shards, and then calls them ready.
func (r *Recovery) sweep(ctx context.Context, n *cart.Node, lost []found) error {
	wanted, newest := make(map[int]cart.Generation, len(lost)), int64(0)
	for _, f := range lost {
		wanted[f.shard], newest = f.Generation, max(newest, f.Number)
	}
	if err := r.caughtUp(ctx, newest); err != nil {
		return err
	}
	stored, err := r.Carts.Find(ctx, bson.D{})
	if err != nil {
		return fmt.Errorf("read the stored carts: %w", err)
	}
	defer stored.Close(ctx) //nolint:errcheck // read to its end or given up
	put, writing := errgroup.WithContext(ctx)
	put.SetLimit(sweepers)
	carts, renewed := map[int]int64{}, time.Now()
	for stored.Next(writing) {
		var c schemas.Cart
		if err := stored.Decode(&c); err != nil {
			r.Log.ErrorContext(ctx, "a stored cart can't be read and is left out", "error", err)
			continue
		}
		shard := r.Store.ShardOf(c.UserID)
		g, ok := wanted[shard]
		if !ok {
			continue
		}
		put.Go(func() error { return r.Store.PutBack(writing, g, c) })
		carts[shard]++
		r.metrics.putBack.Inc()
		if time.Since(renewed) > leaseFor/3 {
			if leads, err := n.Lead(ctx, r.Instance, leaseFor); err != nil || !leads {
				return errors.Join(err, put.Wait(), cart.ErrOvertaken)
			}
			r.note(ctx, n, lost, carts)
			renewed = time.Now()
		}
	}
	if err := errors.Join(put.Wait(), stored.Err()); err != nil {
		return fmt.Errorf("bring back carts: %w", err)
	}
	total := r.note(ctx, n, lost, carts)
	for _, f := range lost {
		if err := n.Swap(ctx, f.shard, f.Generation, cart.Lost, f.Generation, cart.Ready); err != nil {
			return err
		}
	}
	r.Log.InfoContext(ctx, "lost shards hold every cart again", "shards", len(lost), "carts", total)
	return nil
}

// note tells operators how far a sweep is, and returns how many carts are back in all. Nothing depends on it.
func (r *Recovery) note(ctx context.Context, n *cart.Node, lost []found, carts map[int]int64) (total int64) {
	for _, f := range lost {
		if carts[f.shard] == 0 {
			continue
		}
		total += carts[f.shard]
		if err := n.Restored(ctx, f.shard, f.Generation, carts[f.shard]); err != nil {
			r.Log.DebugContext(ctx, "how far recovery is could not be noted", "shard", f.shard, "error", err)
		}
	}
	return total
}
