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
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"

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
	// Carts is the collection that the persist consumer writes.
	Carts *mongo.Collection
	// Kafka tells how far PersistGroup has read Topic.
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
	tails   tails
	metrics *metrics
	given   []Given // under AcceptLoss
}

// New returns a Recovery. Its Run must run for shards to open.
func New(c Config) *Recovery {
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
	for looked := false; ; looked = true {
		_, recovering := r.Store.Count()
		lost, _ := r.tails.waiting()
		if known := r.Store.ReplicationIDs(ctx); recovering > 0 || !looked || lost > 0 || !maps.Equal(known, servers) {
			servers = known
			if _, err := r.pass(ctx); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-r.Store.NeedsRecovery():
		case <-ctx.Done():
			return nil
		}
	}
}

// pass looks at every node once. It returns how many of them stay closed in part, and an error that no waiting can cure.
func (r *Recovery) pass(ctx context.Context) (failed int, err error) {
	if err := r.Store.CheckShards(ctx); err != nil {
		if errors.Is(err, cart.ErrShards) {
			return 0, err
		}
		// Its node may be away while others are there: they go on.
		r.Log.DebugContext(ctx, "the number of shards can't be compared yet", "error", err)
	}
	lost := 0
	defer func() { r.tails.settle(lost) }()
	for _, node := range r.Store.Nodes(ctx) {
		here, err := r.node(ctx, node)
		lost += here
		if closing := node.Close(); err == nil {
			err = closing
		}
		if err != nil || here > 0 {
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

// found is one shard as it was looked at.
type found struct {
	shard int
	cart.Generation
	state cart.State
	known bool
}

// closed reports whether nothing serves the shard.
func (f found) closed() bool {
	return !f.known || f.state != cart.Ready && f.state != cart.Lost
}

// lost reports whether the shard's data is gone, or was gone when an earlier recovery began.
func (f found) lost() bool {
	return f.state == cart.Absent || f.state == cart.Lost || f.state == cart.RaisingLost
}

// node opens the closed shards of one node, then brings back the carts of those that lost theirs. It returns how many
// shards are lost still.
func (r *Recovery) node(ctx context.Context, n *cart.Node) (int, error) {
	shards, err := inspect(ctx, n)
	if err != nil {
		return 0, err
	}
	closed, lost := sort(shards)
	r.tails.saw(lost)
	if len(closed)+len(lost) == 0 {
		return 0, nil
	}
	leads, err := n.Lead(ctx, r.Instance, leaseFor)
	if err == nil && !leads && r.AcceptLoss && len(closed) > 0 {
		err = errLed // nobody but this instance opens them without Kafka, so it isn't done yet
	}
	if err != nil || !leads {
		return len(lost), err
	}
	defer func() { _ = n.Release(context.WithoutCancel(ctx)) }() // else it ends by itself
	// Whoever led until now may have opened what was closed at the first look: it isn't to be raised once more.
	if shards, err = inspect(ctx, n); err != nil {
		return len(lost), err
	}
	if closed, lost = sort(shards); len(closed)+len(lost) == 0 {
		return 0, nil
	}
	if len(closed) > 0 {
		if err := r.open(ctx, n, shards, closed); err != nil {
			return len(lost), err
		}
		if shards, err = inspect(ctx, n); err != nil {
			return len(lost), err
		}
		_, lost = sort(shards)
		r.tails.saw(lost)
	}
	if len(lost) == 0 {
		return 0, nil
	}
	if err := r.sweep(ctx, n, lost); err != nil {
		return len(lost), err
	}
	return 0, nil
}

// sort returns the shards that are closed, and those that lost their data.
func sort(shards []found) (closed, lost []found) {
	for _, f := range shards {
		if f.closed() {
			closed = append(closed, f)
		}
		if f.lost() {
			lost = append(lost, f)
		}
	}
	return closed, lost
}

func inspect(ctx context.Context, n *cart.Node) ([]found, error) {
	shards := make([]found, 0, len(n.Shards))
	for _, shard := range n.Shards {
		g, state, known, err := n.Inspect(ctx, shard)
		if errors.Is(err, cart.ErrMigrating) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look at shard %d: %w", shard, err)
		}
		shards = append(shards, found{shard, g, state, known})
	}
	return shards, nil
}
