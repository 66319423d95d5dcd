package recovery

import (
	"context"
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
	floor, err := r.highestEpoch(ctx, closed)
	if err != nil {
		return err
	}
	g, err := r.raise(ctx, n, closed, max(number, floor+1))
	if err != nil {
		return err
	}
	held, highest, tailErr := r.bring(ctx, n, g, kept(closed))
	if highest >= g.Number { // a clock went back
		if g, err = r.raise(ctx, n, closed, highest+1); err != nil {
			return err
		}
	}
	opened, lost := 0, 0
	for _, f := range closed {
		offset, brought := held[f.shard]
		if !brought {
			offset = -1 // where it was opened without: that is read from where it was left, should Kafka ever come back
		}
		if !f.lost() && !brought && !r.AcceptLoss {
			continue
		}
		if r.AcceptLoss && (f.lost() || !brought) {
			r.given = append(r.given, Given{Shard: f.shard, Lost: f.lost(), Generation: g.Number})
		}
		if err := serve(ctx, n, f, g, offset); err != nil {
			return err
		}
		opened++
		if f.lost() {
			lost++
		}
	}
	if opened == 0 {
		return tailErr
	}
	if err := n.Load(ctx, g); err != nil {
		return err
	}
	r.metrics.recoveries.Inc()
	r.Log.InfoContext(ctx, "shards have a new generation", "generation", g.Number, "shards", opened, "lost", lost, "closed", len(closed)-opened)
	if r.AcceptLoss {
		return nil
	}
	return tailErr
}

// serve lets a shard be served as soon as the generation's scripts are there.
func serve(ctx context.Context, n *cart.Node, f found, g cart.Generation, offset int64) error {
	if err := n.Opened(ctx, f.shard, g, f.state, offset); err != nil {
		return err
	}
	if f.lost() {
		return n.Swap(ctx, f.shard, g, f.state, g, cart.Lost)
	}
	if err := n.Refresh(ctx, f.shard, g); err != nil { // what it knew of books may have been lost, too
		return err
	}
	return n.Swap(ctx, f.shard, g, f.state, g, cart.Ready)
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

// kept returns the shards that did not lose their data.
func kept(shards []found) (kept []int) {
	for _, f := range shards {
		if !f.lost() {
			kept = append(kept, f.shard)
		}
	}
	return kept
}
