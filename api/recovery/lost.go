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
)

// highestEpoch returns the highest epoch that MongoDB knows, where one of the shards is lost and might otherwise be
// given a lower one by a clock that went back.
func (r *Recovery) highestEpoch(ctx context.Context, shards []cart.ShardReport) (int64, error) {
	if !slices.ContainsFunc(shards, isLost) {
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

// note tells operators how far a sweep is, and returns how many carts are back in all. Nothing depends on it.
func (r *Recovery) note(ctx context.Context, n *cart.Node, lost []cart.ShardReport, carts map[int]int64) (total int64) {
	for _, f := range lost {
		if carts[f.Shard] == 0 {
			continue
		}
		total += carts[f.Shard]
		if err := n.Restored(ctx, f.Shard, f.Generation, carts[f.Shard]); err != nil {
			r.Log.DebugContext(ctx, "how far recovery is could not be noted", "shard", f.Shard, "error", err)
		}
	}
	return total
}
