package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// A shard that lost its data is opened once what MongoDB may lack was brought from Kafka, so a cart that it doesn't have is
// as MongoDB has it.

const (
	// askFor bounds one question to MongoDB or Kafka.
	askFor = 2 * time.Second
	// scanFor bounds one that reads the whole collection.
	scanFor = 5 * time.Minute
	// sweepers put back carts at the same time, so that they share pipelines.
	sweepers = 64
)

// highestEpoch returns the highest epoch that MongoDB knows, where one of the shards is lost and might otherwise be
// given a lower one by a clock that went back.
func (r *Recovery) highestEpoch(ctx context.Context, shards []found) (int64, error) {
	if !slices.ContainsFunc(shards, found.lost) {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, scanFor)
	defer cancel()
	var newest schemas.Cart
	err := r.Carts.FindOne(ctx, bson.D{}, options.FindOne().
		SetSort(bson.D{{Key: "epoch", Value: -1}}).SetProjection(bson.D{{Key: "epoch", Value: 1}})).Decode(&newest)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return 0, fmt.Errorf("the highest epoch in MongoDB: %w", err)
	}
	return newest.Epoch, nil
}

// Restore brings back one user's cart, or notes that there is none. It returns an error while MongoDB can't be asked, and
// where another loss came after the one under g.
func (r *Recovery) Restore(ctx context.Context, user string, g cart.Generation) error {
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
	wanted := make(map[int]cart.Generation, len(lost))
	for _, f := range lost {
		wanted[f.shard] = f.Generation
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
