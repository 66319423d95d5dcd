package main

import (
	"context"
	"crypto/sha1" //nolint:gosec // a fingerprint
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"cartstream/schemas"
)

// What reconcile is measured beside.

// copyAll makes the documents that raw writes replace.
func (r *reconciling) copyAll(ctx context.Context) error {
	cursor, err := r.carts.Find(ctx, bson.D{}, mongooptions.Find().SetBatchSize(perBulk))
	if err != nil {
		return err
	}
	defer cursor.Close(ctx) //nolint:errcheck // read to its end or given up
	var some []any
	for {
		more := cursor.Next(ctx)
		if more {
			some = append(some, append(bson.Raw(nil), cursor.Current...))
		}
		if len(some) == perBulk || !more && len(some) > 0 {
			if _, err := r.copies.InsertMany(ctx, some); err != nil {
				return err
			}
			some = some[:0]
		}
		if !more {
			return cursor.Err()
		}
	}
}

// rawTurn measures what this process does with all documents.
func (r *reconciling) rawTurn(ctx context.Context, into *series, do func(context.Context) error) error {
	used, err := cpu(os.Getpid())
	if err != nil {
		return err
	}
	began := time.Now()
	if err := do(ctx); err != nil {
		return err
	}
	elapsed, n := time.Since(began), float64(r.n)
	after, err := cpu(os.Getpid())
	into.add(n/elapsed.Seconds(), us(after-used)/n, 0)
	return err
}

// readAll reads what says of each document which it is, how new, and what it holds.
func (r *reconciling) readAll(ctx context.Context) error {
	cursor, err := r.carts.Find(ctx, bson.D{}, mongooptions.Find().SetBatchSize(perBulk))
	if err != nil {
		return err
	}
	defer cursor.Close(ctx) //nolint:errcheck // read to its end or given up
	n, prints := 0, map[[sha1.Size]byte]struct{}{}
	for cursor.Next(ctx) {
		epoch, ok := cursor.Current.Lookup("epoch").Int64OK()
		version, too := cursor.Current.Lookup("version").Int64OK()
		id, named := cursor.Current.Lookup("_id").StringValueOK()
		if !ok || !too || !named || epoch < 1 || version < 1 {
			return fmt.Errorf("document %q has epoch %d, version %d", id, epoch, version)
		}
		if print := sha1.Sum(cursor.Current); len(prints) < perBulk { //nolint:gosec // a fingerprint
			prints[print] = struct{}{}
		}
		n++
	}
	if err := cursor.Err(); err != nil {
		return err
	}
	if n < r.n || len(prints) < min(n, perBulk) {
		return fmt.Errorf("%d of %d documents, %d of the first differ", n, r.n, len(prints))
	}
	return nil
}

// replaceAll replaces every copy by a newer one.
func (r *reconciling) replaceAll(ctx context.Context) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	epoch := time.Now().UnixMilli()
	for range 2 {
		g.Go(func() error {
			for {
				to := int(next.Add(perBulk))
				from := to - perBulk
				if from >= r.n {
					return nil
				}
				var models []mongo.WriteModel
				for i := from; i < min(to, r.n); i++ {
					at := schemas.Milliseconds(epoch)
					c := schemas.Cart{UserID: userID(i), Epoch: epoch, Version: 1, Currency: "EUR", UpdatedAt: &at, Items: []schemas.Line{{
						BookID: bestseller, Title: "The Old Curiosity Shop", UnitPrice: 999, Quantity: 1, LineTotal: 999, Availability: schemas.Available}}}
					c.Totals = schemas.Sum(c.Items)
					models = append(models, mongo.NewReplaceOneModel().SetFilter(older(c)).SetReplacement(c))
				}
				result, err := r.copies.BulkWrite(ctx, models, mongooptions.BulkWrite().SetOrdered(false))
				if err != nil {
					return err
				}
				if result.MatchedCount != int64(len(models)) {
					return fmt.Errorf("%d of %d documents replaced", result.MatchedCount, len(models))
				}
			}
		})
	}
	return g.Wait()
}
