package persist

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"cartstream/api/cart"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

const (
	// maxBytes of documents are held for one bulk write: a thousand usual carts, four of the largest.
	maxBytes = 4 << 20
	// maxDocument is what MongoDB takes as one document.
	maxDocument = 16 << 20
)

// allowance is how long a flight of n documents may take before MongoDB counts as away: ample for the slowest engine,
// the embedded one, and short for a few documents, so that a dead connection doesn't hold up the rest.
func allowance(n int) time.Duration { return 10*time.Second + time.Duration(n)*50*time.Millisecond }

// flight is one find and the bulk writes that follow from it, in most cases one.
type flight struct {
	carts   *mongo.Collection
	meter   *meter
	waiting map[string][]*write // those whose document has not been seen yet, by user

	// The bulk write that is being gathered.
	models []mongo.WriteModel
	users  [][]*write // whom each model is for
	bytes  int

	// unsure are those whose document may have been written or not.
	unsure []*write
}

// fly gives each write its outcome. Those that a first flight leaves open get another, which starts from what is stored
// then: a document that somebody else inserted meanwhile is no longer to be inserted, but replaced where it is older.
func (w *writer) fly(load []*write) {
	ctx, cancel := context.WithTimeout(context.Background(), allowance(len(load)))
	defer cancel()
	for len(load) > 0 {
		f := &flight{carts: w.carts, meter: w.meter, waiting: make(map[string][]*write, len(load))}
		f.fly(ctx, load)
		load = f.unsure
	}
}

func (f *flight) fly(ctx context.Context, load []*write) {
	ids := make([]string, 0, len(load))
	for _, one := range load {
		if f.waiting[one.user] == nil {
			ids = append(ids, one.user)
		}
		f.waiting[one.user] = append(f.waiting[one.user], one)
	}
	if err := f.find(ctx, ids); err != nil {
		for _, writes := range f.waiting {
			down(writes, fmt.Errorf("read carts: %w", err))
		}
		f.waiting = nil
	}
	for _, id := range ids {
		if writes := f.waiting[id]; writes != nil {
			f.advance(ctx, schemas.Cart{}, writes)
		}
	}
	f.send(ctx)
}

// down says that the writes could not be tried; nil changes nothing.
func down(writes []*write, err error) {
	for _, one := range writes {
		one.down = errors.Join(one.down, err)
	}
}

// refuse says that MongoDB won't take the writes' document; nil changes nothing.
func refuse(writes []*write, err error) {
	for _, one := range writes {
		one.refused = errors.Join(one.refused, err)
	}
}

// find brings each document that there is up to its writes. One that can't be read for what it is concerns its own
// writes only.
func (f *flight) find(ctx context.Context, ids []string) error {
	cursor, err := f.carts.Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}},
		options.Find().SetBatchSize(maxDocuments))
	if err != nil {
		return err
	}
	defer func() { _ = cursor.Close(ctx) }()
	for cursor.Next(ctx) {
		id, _ := cursor.Current.Lookup("_id").StringValueOK()
		writes := f.waiting[id]
		delete(f.waiting, id)
		var stored schemas.Cart
		if err := cursor.Decode(&stored); err != nil {
			refuse(writes, runner.Refused(fmt.Errorf("the stored cart %s can't be read: %w", id, err)))
			continue
		}
		f.advance(ctx, stored, writes)
	}
	return cursor.Err()
}

// advance applies the writes of one user to what is stored, a zero Cart where nothing is, and adds what comes out to
// the next bulk write.
func (f *flight) advance(ctx context.Context, stored schemas.Cart, writes []*write) {
	next := stored
	for _, one := range writes {
		f.apply(&next, one)
	}
	if !schemas.Newer(next.Epoch, next.Version, stored.Epoch, stored.Version) {
		return
	}
	if next.Items == nil {
		next.Items = []schemas.Line{}
	}
	document, err := bson.Marshal(next)
	if err == nil && len(document) > maxDocument {
		err = fmt.Errorf("%d bytes are more than a document may have", len(document))
	}
	if err != nil {
		refuse(writes, runner.Permanent(fmt.Errorf("cart %s: %w", next.UserID, err)))
		return
	}
	if f.bytes+len(document) > maxBytes {
		f.send(ctx)
	}
	f.models = append(f.models, replacement(next, document, stored.Version == 0))
	f.users = append(f.users, writes)
	f.bytes += len(document)
}

// apply brings the cart up to the write, as far as nothing is missing between the two.
func (f *flight) apply(c *schemas.Cart, one *write) {
	if one.whole != nil {
		if schemas.Newer(one.whole.Epoch, one.whole.Version, c.Epoch, c.Version) {
			*c = *one.whole
		}
		return
	}
	gap := cart.Tag{}
	for _, change := range one.changes {
		outcome := c.Apply(change)
		f.meter.changes[outcome].Inc()
		if outcome == schemas.Gap && schemas.Newer(change.Epoch, change.Version, gap.Epoch, gap.Version) {
			gap = cart.Tag{Epoch: change.Epoch, Version: change.Version}
		}
	}
	if !schemas.Newer(gap.Epoch, gap.Version, c.Epoch, c.Version) {
		gap = cart.Tag{} // what came after it made it good
	}
	one.gap = gap
}

// replacement puts the document where an older one is or, as an upsert, none.
func replacement(c schemas.Cart, document bson.Raw, upsert bool) *mongo.ReplaceOneModel {
	older := bson.D{
		{Key: "_id", Value: c.UserID},
		{Key: "$or", Value: bson.A{
			bson.D{{Key: "epoch", Value: bson.D{{Key: "$lt", Value: c.Epoch}}}},
			bson.D{{Key: "epoch", Value: c.Epoch}, {Key: "version", Value: bson.D{{Key: "$lt", Value: c.Version}}}},
		}},
	}
	m := mongo.NewReplaceOneModel().SetFilter(older).SetReplacement(document)
	if upsert {
		m.SetUpsert(true)
	}
	return m
}
