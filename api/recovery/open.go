package recovery

import (
	"context"
	"errors"
	"maps"
	"time"

	"cartstream/api/cart"
)

// open raises the generation of the closed shards, brings those that kept their data up to what Kafka has, and lets all be
// served. Where Kafka can't be read, shards that need it stay closed, and the error says so.
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
	held, highest, failed := r.bringAll(ctx, n, g, closed)
	if highest >= g.Number { // a clock went back
		if g, err = r.raise(ctx, n, closed, highest+1); err != nil {
			return err
		}
	}
	opened, lost := 0, 0
	for _, f := range closed {
		offset, brought := held[f.shard]
		switch {
		case brought:
			if err := n.Holds(ctx, f.shard, g, f.state, offset); err != nil {
				return err
			}
		case r.AcceptLoss && errors.Is(failed[f.state], errNotRead): // its tail is read from where it was left, should Kafka ever come back
			r.given = append(r.given, Given{Shard: f.shard, Lost: f.lost(), Generation: g.Number})
		default:
			continue
		}
		if err := serve(ctx, n, f, g); err != nil {
			return err
		}
		opened++
		if f.lost() {
			lost++
		}
	}
	if opened == 0 {
		return errors.Join(failed[cart.Raising], failed[cart.RaisingLost])
	}
	if err := n.Load(ctx, g); err != nil {
		return err
	}
	r.metrics.recoveries.Inc()
	r.Log.InfoContext(ctx, "shards have a new generation", "generation", g.Number, "shards", opened, "lost", lost, "closed", len(closed)-opened)
	if opened == len(closed) {
		return nil
	}
	return errors.Join(failed[cart.Raising], failed[cart.RaisingLost])
}

// bringAll brings to what Kafka has both the shards that kept their data and those that lost it, which need MongoDB, too. It
// returns what bring returns, the errors by the state of the shards that they are about.
func (r *Recovery) bringAll(ctx context.Context, n *cart.Node, g cart.Generation, closed []found) (held map[int]int64, highest int64, failed map[cart.State]error) {
	shards := map[cart.State][]int{}
	for _, f := range closed {
		shards[f.state] = append(shards[f.state], f.shard)
	}
	held, failed = map[int]int64{}, map[cart.State]error{}
	for state, these := range shards {
		offsets, epoch, err := r.bring(ctx, n, g, state, these)
		maps.Copy(held, offsets)
		highest, failed[state] = max(highest, epoch), err
	}
	return held, highest, failed
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
