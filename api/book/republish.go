package book

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"cartstream/schemas"
)

const (
	indexEvery = 5 * time.Second
	// clearAtMost are the marks that are cleared at once.
	clearAtMost = 500
	// farewell is how long a publisher that ends waits for Kafka's last answers, and for MongoDB to be told of one.
	farewell = 2 * time.Second
)

func (p *publisher) run(ctx context.Context) error {
	look := time.NewTimer(0)
	defer look.Stop()
	index := time.NewTimer(0)
	defer index.Stop()
	for {
		select {
		case m := <-p.acked:
			p.clear(m)
		case <-look.C:
			p.republish(ctx)
			// Instances that were started together shouldn't look together.
			look.Reset(p.every*3/4 + rand.N(p.every/2+1)) //nolint:gosec // spreads load, guards nothing
		case <-index.C:
			if !p.createIndexes(ctx) {
				index.Reset(indexEvery)
			}
		case <-ctx.Done():
			p.finish()
			return nil
		}
	}
}

// finish clears what Kafka acknowledges in its last moments. What remains is published again by whoever runs next.
func (p *publisher) finish() {
	over := time.After(farewell)
	for {
		p.mu.Lock()
		left := len(p.inFlight)
		p.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case m := <-p.acked:
			p.clear(m)
		case <-time.After(10 * time.Millisecond): // those that fail tell nobody
		case <-over:
			return
		}
	}
}

// clear takes the marks of first, and of all others that wait, off the very versions that Kafka has.
func (p *publisher) clear(first mark) {
	marks := []mark{first}
	for len(marks) < clearAtMost {
		select {
		case m := <-p.acked:
			marks = append(marks, m)
			continue
		default:
		}
		break
	}
	ids := map[int64]bson.A{} // by version: books at the same one share a write, as those of a bulk load do
	for _, m := range marks {
		ids[m.version] = append(ids[m.version], m.id)
	}
	writes := make([]mongo.WriteModel, 0, len(ids))
	for version, ids := range ids {
		writes = append(writes, mongo.NewUpdateManyModel().
			SetFilter(bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}, {Key: "unpublished", Value: version}}).
			SetUpdate(bson.D{{Key: "$set", Value: bson.D{{Key: "unpublished", Value: int64(0)}}}}))
	}
	ctx, cancel := context.WithTimeout(context.Background(), farewell) // what Kafka has is worth noting at the end too
	defer cancel()
	if _, err := p.books.BulkWrite(ctx, writes, options.BulkWrite().SetOrdered(false)); err != nil {
		p.log.Warn("book events are in Kafka, but MongoDB can't be told: they will be repeated", "events", len(marks), "error", err)
	}
	p.end(nil, marks...)
}

// republish hands every marked book to the producer, as it is now, as far as there is room.
func (p *publisher) republish(ctx context.Context) {
	p.complain()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	marked := bson.D{{Key: "unpublished", Value: bson.D{{Key: "$gt", Value: int64(0)}}}}
	found, err := p.books.Find(ctx, marked, options.Find().
		SetLimit(2*waiting). // those in flight may come first
		SetProjection(bson.D{{Key: "words", Value: 0}}))
	if err != nil {
		p.lookFailed(ctx, err)
		return
	}
	defer func() { _ = found.Close(ctx) }()
	count := 0
	for ; found.Next(ctx); count++ {
		var d document
		if err := found.Decode(&d); err != nil {
			p.log.Error("a book in MongoDB can't be read: its event waits", "id", found.Current.Lookup("_id").String(), "error", err)
			continue
		}
		p.publish(d)
	}
	if err := found.Err(); err != nil {
		p.lookFailed(ctx, err)
		return
	}
	p.metrics.unpublished.Set(float64(count))
}

func (p *publisher) lookFailed(ctx context.Context, err error) {
	if !errors.Is(ctx.Err(), context.Canceled) {
		p.log.Warn("can't look for unpublished books", "error", err)
	}
}

// complain says, once a look, that Kafka didn't take events.
func (p *publisher) complain() {
	p.mu.Lock()
	failures, err := p.failures, p.failure
	p.failures, p.failure = 0, nil
	p.mu.Unlock()
	if failures > 0 {
		p.log.Warn("book events wait for Kafka", "topic", schemas.BookEvents, "failures", failures, "error", err)
	}
}

func (p *publisher) createIndexes(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // of a large catalogue
	defer cancel()
	for _, index := range indexes() { // one at a time: FerretDB 1 can't skip several that exist in one call
		if _, err := p.books.Indexes().CreateOne(ctx, index); err != nil {
			if !errors.Is(ctx.Err(), context.Canceled) {
				p.log.Warn("can't create the indexes of the catalogue yet", "error", err)
			}
			return false
		}
	}
	return true
}
