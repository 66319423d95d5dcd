package recovery

import (
	"context"
	"errors"
	"time"

	"cartstream/api/cart"
)

// open raises the generation of the closed shards, all of which kept their data, or lost it, brings them up to what Kafka
// has, and lets them be served. Where Kafka can't be read, shards that need it stay closed, and the error says so.
func (r *Recovery) open(ctx context.Context, n *cart.Node, all, closed []found) error {
	number := time.Now().UnixMilli()
	for _, f := range all {
		number = max(number, f.Number+1)
	}
	var floor int64
	if err := r.leading(ctx, n, func(ctx context.Context) (err error) {
		floor, err = r.highestEpoch(ctx, closed)
		return err
	}); err != nil {
		return err
	}
	g, err := r.raise(ctx, n, closed, max(number, floor+1))
	if err != nil {
		return err
	}
	var (
		held    map[int]int64
		highest int64
		failed  error // about shards that are not held
	)
	if err := r.leading(ctx, n, func(ctx context.Context) error {
		held, highest, failed = r.bring(ctx, n, g, closed[0].state, shardsOf(closed))
		return nil
	}); err != nil {
		return err
	}
	if highest >= g.Number { // a clock went back
		if g, err = r.raise(ctx, n, closed, highest+1); err != nil {
			return err
		}
	}
	var opened []int
	for _, f := range closed {
		offset, brought := held[f.shard]
		switch {
		case brought:
			if err := n.Holds(ctx, f.shard, g, f.state, offset); err != nil {
				return err
			}
		case r.AcceptLoss && errors.Is(failed, errNotRead): // its tail is read from where it was left, should Kafka ever come back
			r.given = append(r.given, Given{Shard: f.shard, Lost: f.lost(), Generation: g.Number})
		default:
			continue
		}
		if err := serve(ctx, n, f, g); err != nil {
			return err
		}
		opened = append(opened, f.shard)
	}
	if len(opened) == 0 {
		return failed
	}
	if err := n.Load(ctx, g); err != nil {
		return err
	}
	n.Serve(g, opened)
	r.metrics.recoveries.Inc()
	r.Log.InfoContext(ctx, "shards have a new generation", "generation", g.Number, "shards", len(opened), "lost", closed[0].lost(), "closed", len(closed)-len(opened))
	if len(opened) == len(closed) {
		return nil // what failed was given up
	}
	return failed
}

func shardsOf(these []found) []int {
	shards := make([]int, len(these))
	for i, f := range these {
		shards[i] = f.shard
	}
	return shards
}

// serve lets a shard be served as soon as the generation's scripts are there.
func serve(ctx context.Context, n *cart.Node, f found, g cart.Generation) error {
	if err := n.Opened(ctx, f.shard, g, f.state); err != nil {
		return err
	}
	to := cart.Ready
	if f.lost() {
		to = cart.Lost
	}
	return n.Swap(ctx, f.shard, g, f.state, g, to)
}

// raise gives the closed shards a new generation under which nothing is served yet.
func (r *Recovery) raise(ctx context.Context, n *cart.Node, closed []found, number int64) (cart.Generation, error) {
	g := cart.NewGeneration(number)
	for i, f := range closed {
		raising := cart.Raising
		if f.lost() {
			raising = cart.RaisingLost
		}
		if err := n.Swap(ctx, f.shard, f.Generation, f.state, g, raising); err != nil {
			return g, err
		}
		closed[i].Generation, closed[i].state = g, raising
	}
	return g, nil
}
