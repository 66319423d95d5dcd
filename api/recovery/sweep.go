package recovery

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"cartstream/api/cart"
	"cartstream/schemas"
	"cartstream/schemas/bsoncart"
)

const (
	// fetchDocuments come from MongoDB with each question, while those before are decoded and written.
	fetchDocuments = 1000
	// putCarts and putLines bound how much of a shard is put back by one call, and so how long that holds Redis.
	putCarts, putLines = 100, 500
	// putters put back at the same time: while Redis works for one, the next prepares its call.
	putters   = 4
	noteEvery = time.Second
)

// sweeping is one reading of all stored carts. It holds at most putLines lines of each shard, and those that are on their
// way.
type sweeping struct {
	*Recovery
	shards  map[int]*sweptShard
	putting *errgroup.Group
}

// sweptShard is a lost shard, and those of its carts that wait to be put back together.
type sweptShard struct {
	generation cart.Generation
	carts      []schemas.Cart
	lines      int
}

// sweep brings back every cart of the lost shards, and then calls them ready.
func (r *Recovery) sweep(ctx context.Context, n *cart.Node, lost []cart.ShardReport) error {
	carts := map[int]int64{}
	if err := r.leading(ctx, n, func(ctx context.Context) error { return r.sweepAll(ctx, n, lost, carts) }); err != nil {
		return fmt.Errorf("bring back carts: %w", err)
	}
	total := r.note(ctx, n, lost, carts)
	for _, f := range lost {
		if err := n.Swap(ctx, f.Generation, cart.Ready, f); err != nil {
			return err
		}
	}
	r.Log.InfoContext(ctx, "lost shards hold every cart again", "shards", len(lost), "carts", total)
	return nil
}

// sweepAll counts what it puts back in carts, by shard.
func (r *Recovery) sweepAll(ctx context.Context, n *cart.Node, lost []cart.ShardReport, carts map[int]int64) error {
	s := &sweeping{Recovery: r, shards: make(map[int]*sweptShard, len(lost))}
	for _, f := range lost {
		s.shards[f.Shard] = &sweptShard{generation: f.Generation}
	}
	documents, err := r.Carts.Find(ctx, bson.D{}, options.Find().SetBatchSize(fetchDocuments))
	if err != nil {
		return err
	}
	defer documents.Close(context.WithoutCancel(ctx)) //nolint:errcheck // read to its end or given up
	working, within := errgroup.WithContext(ctx)
	batches := make(chan []bson.Raw, 2)
	working.Go(func() error {
		defer close(batches)
		return read(within, documents, batches)
	})
	working.Go(func() error {
		putting, ctx := errgroup.WithContext(within)
		putting.SetLimit(putters)
		s.putting = putting
		noted := time.Now()
		for batch := range batches {
			for _, document := range batch {
				s.take(ctx, document, carts)
			}
			if time.Since(noted) > noteEvery {
				r.note(ctx, n, lost, carts)
				noted = time.Now()
			}
		}
		for _, shard := range s.shards {
			s.put(ctx, shard)
		}
		return putting.Wait()
	})
	return working.Wait()
}

// read hands on all documents, while the next ones are fetched.
func read(ctx context.Context, documents *mongo.Cursor, batches chan<- []bson.Raw) error {
	var batch []bson.Raw
	for more := true; more; {
		if more = documents.Next(ctx); more {
			batch = append(batch, slices.Clone(documents.Current))
		}
		if len(batch) == 0 || more && documents.RemainingBatchLength() > 0 {
			continue
		}
		select {
		case batches <- batch:
			batch = make([]bson.Raw, 0, len(batch))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return documents.Err()
}

// take puts back a stored cart of a lost shard, together with others.
func (s *sweeping) take(ctx context.Context, document bson.Raw, carts map[int]int64) {
	var c schemas.Cart
	if err := bsoncart.Decode(document, &c); err != nil {
		s.Log.ErrorContext(ctx, "a stored cart can't be read and is left out", "error", err)
		return
	}
	number := s.Store.ShardOf(c.UserID)
	shard := s.shards[number]
	if shard == nil {
		return
	}
	carts[number]++
	s.metrics.putBack.Inc()
	shard.carts, shard.lines = append(shard.carts, c), shard.lines+len(c.Items)
	if len(shard.carts) >= putCarts || shard.lines >= putLines {
		s.put(ctx, shard)
	}
}

// put puts back what waits of a shard. It waits only for a free place.
func (s *sweeping) put(ctx context.Context, shard *sweptShard) {
	carts, generation := shard.carts, shard.generation
	shard.carts, shard.lines = nil, 0
	if len(carts) > 0 && ctx.Err() == nil {
		s.putting.Go(func() error { return s.Store.PutBack(ctx, generation, carts...) })
	}
}
