// Package recovery opens the shards of a Redis that doesn't know them, or no longer: it gives each a new generation,
// above every one that was seen, and brings back the carts of a shard that lost its data.
//
// One instance at a time works on a node. Every step is a compare-and-swap on the shard's generation, made on one
// connection, so an instance that was paused in the middle, or whose server was replaced, can't open what another
// recovery closed.
package recovery

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"cartstream/api/cart"
)

const (
	// every is how often shards that can't be served are looked at, besides whenever one is found.
	every = time.Second
	// leaseFor bounds how long a dead instance keeps a node's recovery from others.
	leaseFor = 5 * time.Second
)

// Config of a Recovery.
type Config struct {
	Store *cart.Store
	// Carts is the collection that the persist consumer writes. Its primary is read, whatever it says itself.
	Carts *mongo.Collection
	// Kafka tells how far PersistGroup has stored Topic.
	Kafka        *kadm.Client
	Topic        string
	PersistGroup string
	// Options connect the clients that read Kafka's tail.
	Options []kgo.Opt
	// Instance names this process among those that might recover.
	Instance string
	// AcceptLoss opens shards without what only Kafka has of them, where Kafka doesn't answer. An operator decides that.
	AcceptLoss bool
	Log        *slog.Logger
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
}

// Recovery opens shards. It is the cart.Restorer of their carts.
type Recovery struct {
	Config
	metrics *metrics
	given   []Given // under AcceptLoss
}

// New returns a Recovery. Its Run must run for shards to open.
func New(c Config) *Recovery {
	c.Carts = c.Carts.Clone(options.Collection().SetReadPreference(readpref.Primary())) // a secondary may lack what was committed
	r := &Recovery{Config: c}
	r.metrics = newMetrics(r)
	return r
}

// Run recovers what needs it until ctx ends, which is no error. The only one is cart.ErrShards: the data was written
// under another number of shards.
func (r *Recovery) Run(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var servers map[string]string
	for again := true; ; {
		_, recovering := r.Store.Count()
		if known := r.Store.ReplicationIDs(ctx); recovering > 0 || again || !maps.Equal(known, servers) {
			servers = known
			left, err := r.pass(ctx)
			if err != nil {
				return err
			}
			again = left > 0
		}
		select {
		case <-tick.C:
		case <-r.Store.NeedsRecovery():
		case <-ctx.Done():
			return nil
		}
	}
}

// pass looks at every node once. It returns how many of them need another look, since shards stay closed or have not got
// their carts back, and an error that no waiting can cure.
func (r *Recovery) pass(ctx context.Context) (failed int, err error) {
	if err := r.Store.CheckShards(ctx); err != nil {
		if errors.Is(err, cart.ErrShards) {
			return 0, err
		}
		// Its node may be away while others are there: they go on.
		r.Log.DebugContext(ctx, "the number of shards can't be compared yet", "error", err)
	}
	for _, node := range r.Store.Nodes(ctx) {
		lost, err := r.node(ctx, node)
		if closing := node.Close(); err == nil {
			err = closing
		}
		if err != nil || lost {
			failed++
		}
		if err != nil && ctx.Err() == nil {
			r.Log.WarnContext(ctx, "recovery will be tried again", "shards", len(node.Shards), "error", err)
		}
	}
	return failed, nil
}

// errLed: another instance leads the node at the moment.
var errLed = errors.New("another instance is at it")

// leading keeps the node's lease while something that may take long is done. Where the lease is lost it is called off.
func (r *Recovery) leading(ctx context.Context, n *cart.Node, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- do(ctx) }()
	renew := time.NewTicker(leaseFor / 3)
	defer renew.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-renew.C:
			if leads, err := n.Lead(ctx, r.Instance, leaseFor); err != nil || !leads {
				cancel()
				return errors.Join(cart.ErrOvertaken, err, <-done)
			}
		}
	}
}

// isClosed reports whether nothing serves the shard.
func isClosed(r cart.ShardReport) bool {
	return !r.Known || r.State != cart.Ready && r.State != cart.Lost
}

// isLost reports whether the shard's data is gone, or was gone when an earlier recovery began.
func isLost(r cart.ShardReport) bool {
	return r.State == cart.Absent || r.State == cart.Lost || r.State == cart.RaisingLost
}

// node opens the closed shards of one node, then brings back the carts of those that lost theirs. It reports whether some
// have not got them back.
func (r *Recovery) node(ctx context.Context, n *cart.Node) (bool, error) {
	shards, err := n.Inspect(ctx)
	if err != nil {
		return false, err
	}
	closed, lost := sort(shards)
	if len(closed)+len(lost) == 0 {
		return false, nil
	}
	leads, err := n.Lead(ctx, r.Instance, leaseFor)
	if err == nil && !leads && r.AcceptLoss && len(closed) > 0 {
		err = errLed // nobody but this instance opens them without Kafka, so it isn't done yet
	}
	if err != nil || !leads {
		return len(lost) > 0, err
	}
	defer func() { _ = n.Release(context.WithoutCancel(ctx), r.Instance) }() // else it ends by itself
	// Whoever led until now may have opened what was closed at the first look: it isn't to be raised once more.
	if shards, err = n.Inspect(ctx); err != nil {
		return len(lost) > 0, err
	}
	if closed, lost = sort(shards); len(closed)+len(lost) == 0 {
		return false, nil
	}
	if len(closed) > 0 {
		var failed error
		for _, gone := range []bool{false, true} { // those that kept their data wait for nothing that only the lost need
			these := slices.DeleteFunc(slices.Clone(closed), func(s cart.ShardReport) bool { return isLost(s) != gone })
			if len(these) > 0 {
				failed = errors.Join(failed, r.open(ctx, n, shards, these))
			}
		}
		if failed != nil {
			return len(lost) > 0, failed
		}
		if shards, err = n.Inspect(ctx); err != nil {
			return len(lost) > 0, err
		}
		_, lost = sort(shards)
	}
	if len(lost) == 0 {
		return false, nil
	}
	if err := r.sweep(ctx, n, lost); err != nil {
		return len(lost) > 0, err
	}
	return false, nil
}

// sort returns the shards that are closed, and those that lost their data.
func sort(shards []cart.ShardReport) (closed, lost []cart.ShardReport) {
	for _, s := range shards {
		if isClosed(s) {
			closed = append(closed, s)
		}
		if isLost(s) {
			lost = append(lost, s)
		}
	}
	return closed, lost
}
