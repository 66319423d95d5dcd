package recovery

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"cartstream/api/cart"
)

// opening is one raise of the generation of a node's closed shards, all of which kept their data, or lost it.
type opening struct {
	*Recovery
	node   *cart.Node
	lost   bool
	closed map[int]cart.ShardReport // by shard, as they are now; without those that were opened
	opened int
	// generation that they were raised to, and whether the node has its scripts.
	generation cart.Generation
	loaded     bool
	highest    int64 // epoch in the tails, as far as they were read
}

// open raises the generation of the closed shards, all of which kept their data, or lost it, brings them up to what Kafka
// has, and lets each be served as soon as it is there. Where Kafka can't be read, shards that need it stay closed, and the
// error says so.
func (r *Recovery) open(ctx context.Context, n *cart.Node, all, closed []cart.ShardReport) error {
	number := time.Now().UnixMilli()
	for _, f := range all {
		number = max(number, f.Generation.Number+1)
	}
	var floor int64
	if err := r.leading(ctx, n, func(ctx context.Context) (err error) {
		floor, err = r.highestEpoch(ctx, closed)
		return err
	}); err != nil {
		return err
	}
	o := &opening{Recovery: r, node: n, lost: isLost(closed[0]), closed: make(map[int]cart.ShardReport, len(closed))}
	for _, f := range closed {
		o.closed[f.Shard] = f
	}
	if err := o.raise(ctx, max(number, floor+1)); err != nil {
		return err
	}
	failed := r.leading(ctx, n, o.bring)
	// Not where reading was called off. A tail is read from where it was left, should Kafka ever come back.
	if r.AcceptLoss && errors.Is(failed, errNotRead) && !errors.Is(failed, cart.ErrOvertaken) && ctx.Err() == nil {
		failed = o.accept(ctx)
	}
	if o.opened > 0 {
		r.metrics.recoveries.Inc()
		r.Log.InfoContext(ctx, "shards have a new generation", "generation", o.generation.Number, "shards", o.opened, "lost", o.lost, "closed", len(o.closed))
	}
	return failed
}

// accept opens the shards whose tail could not be read without it.
func (o *opening) accept(ctx context.Context) error {
	if err := o.raiseAbove(ctx, o.highest); err != nil { // what was read of the tails is written
		return err
	}
	for shard := range o.closed {
		o.given = slices.DeleteFunc(o.given, func(g Given) bool { return g.Shard == shard }) // opening it failed half-way before
		o.given = append(o.given, Given{Shard: shard, Lost: o.lost, Generation: o.generation.Number})
	}
	return o.serve(ctx, slices.Collect(maps.Keys(o.closed)))
}

// state is that of the shards that are closed.
func (o *opening) state() cart.State {
	if o.lost {
		return cart.RaisingLost
	}
	return cart.Raising
}

// raise gives the closed shards a new generation under which nothing is served yet.
func (o *opening) raise(ctx context.Context, number int64) error {
	o.generation, o.loaded = cart.NewGeneration(number), false
	if err := o.node.Swap(ctx, o.generation, o.state(), slices.Collect(maps.Values(o.closed))...); err != nil {
		return err
	}
	for shard := range o.closed {
		o.closed[shard] = cart.ShardReport{Shard: shard, Generation: o.generation, State: o.state()}
	}
	return nil
}

// raiseAbove raises the closed shards once more where a cart's epoch is not below their generation: a clock went back.
func (o *opening) raiseAbove(ctx context.Context, epoch int64) error {
	if epoch < o.generation.Number {
		return nil
	}
	return o.raise(ctx, epoch+1)
}

// brought opens the shards of tails of which they hold all, where no epoch is above highest.
func (o *opening) brought(ctx context.Context, highest int64, tails ...*tail) error {
	if err := o.raiseAbove(ctx, highest); err != nil {
		return err
	}
	holds := map[int]int64{}
	for _, t := range tails {
		for shard := range t.after {
			holds[shard] = t.end - 1
		}
	}
	if err := o.node.Holds(ctx, o.generation, o.state(), holds); err != nil {
		return err
	}
	return o.serve(ctx, slices.Collect(maps.Keys(holds)))
}

// serve lets shards be served. The scripts come last: without them nothing is.
func (o *opening) serve(ctx context.Context, shards []int) error {
	to := cart.Ready
	if o.lost {
		to = cart.Lost
	}
	if err := o.node.Opened(ctx, o.generation, o.state(), shards...); err != nil {
		return err
	}
	raised := make([]cart.ShardReport, len(shards))
	for i, shard := range shards {
		raised[i] = o.closed[shard]
	}
	if err := o.node.Swap(ctx, o.generation, to, raised...); err != nil {
		return err
	}
	for _, shard := range shards {
		delete(o.closed, shard)
	}
	if !o.loaded {
		if err := o.node.Load(ctx, o.generation); err != nil {
			return err
		}
		o.loaded = true
	}
	o.node.Serve(o.generation, shards)
	o.opened += len(shards)
	return nil
}
