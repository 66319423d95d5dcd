package reconcile

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"cartstream/api/cart"
	"cartstream/schemas"
)

const (
	// perBulk carts are written at once, bulksAtOnce times at the same time: MongoDB does no more for more.
	perBulk     = 1000
	bulksAtOnce = 2
	// arrivedAfter the last change of a cart its document should have it, whatever the clocks of those who change carts: nothing is
	// learned by another look.
	arrivedAfter = 30 * time.Second
)

// bulk is carts whose documents lack a change that should have arrived.
type bulk struct {
	carts []schemas.Cart
	saw   []cart.Digest
	done  chan struct{} // closed when it was tried
	// unsure says that not all of them are known to be healed.
	unsure bool
}

// overdue returns the cart of a document that lacks a change that should have arrived, where the look at Redis told it.
func (r *Reconciler) overdue(p pair, now time.Time) (schemas.Cart, bool) {
	if d := p.drift(); d != Behind && d != Missing {
		return schemas.Cart{}, false
	}
	c, ok := r.Carts.Whole(p.user, p.redis)
	return c, ok && now.Sub(time.UnixMilli(c.UpdatedAt.UnixMilli())) > arrivedAfter
}

// write puts the carts into MongoDB, each where an older document is or none. What moved meanwhile, or can't be written, stays
// as it is and makes the bulk unsure. Drift is counted as far as MongoDB tells of it.
func (r *Reconciler) write(ctx context.Context, f *figures, b *bulk) {
	defer close(b.done)
	models := make([]mongo.WriteModel, len(b.carts))
	for i, c := range b.carts {
		models[i] = mongo.NewReplaceOneModel().SetUpsert(true).SetReplacement(c).SetFilter(bson.D{
			{Key: "_id", Value: c.UserID},
			{Key: "$or", Value: bson.A{
				bson.D{{Key: "epoch", Value: bson.D{{Key: "$lt", Value: c.Epoch}}}},
				bson.D{{Key: "epoch", Value: c.Epoch}, {Key: "version", Value: bson.D{{Key: "$lt", Value: c.Version}}}},
			}},
		})
	}
	result, err := r.documents.collection.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	if result == nil {
		result = &mongo.BulkWriteResult{}
	}
	for kind, n := range map[Drift]int64{Behind: result.MatchedCount, Missing: result.UpsertedCount} {
		f.drifted.Add(n)
		f.healed.Add(n)
		r.meter.drift.WithLabelValues(string(kind)).Add(float64(n))
		r.meter.healed.WithLabelValues(string(kind)).Add(float64(n))
	}
	healed := result.MatchedCount + result.UpsertedCount
	b.unsure = err != nil || healed < int64(len(b.carts))
	if healed > 0 {
		r.Log.Warn("carts differed between Redis and MongoDB and were healed", "carts", healed, "behind", result.MatchedCount,
			"missing", result.UpsertedCount, "one", b.carts[0].UserID)
	}
}
