package reconcile

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"cartstream/api/cart"
	"cartstream/schemas"
	"cartstream/schemas/bsoncart"
)

// document is a cart as MongoDB has it.
type document struct {
	digest cart.Digest
	raw    bson.Raw
	// fault is why the document can't be read; its digest is that of no cart then.
	fault error
}

func (d document) there() bool { return d.raw != nil }

// readDocument works out the digest from what the document really holds, so that a change by hand is noticed too. room is for
// what is of no use afterwards.
func readDocument(raw bson.Raw, room *schemas.Cart) document {
	d := document{raw: raw}
	err := bsoncart.Decode(raw, room)
	if err == nil && room.Version < 1 {
		err = fmt.Errorf("version %d", room.Version)
	}
	if err != nil {
		d.fault = fmt.Errorf("the document can't be read: %w", err)
		return d
	}
	d.digest = cart.DigestOf(*room)
	return d
}

// cart is what the document holds.
func (d document) cart() (c schemas.Cart, err error) {
	err = bsoncart.Decode(d.raw, &c)
	return c, err
}

// errUnsound says that a document holds what no cart can.
var errUnsound = errors.New("the document is no cart")

// most is the highest number that Redis's scripts know exactly.
const most = 1 << 53

// sound returns the document's cart, or an error where it isn't one that Redis can take.
func (d document) sound() (schemas.Cart, error) {
	if d.fault != nil {
		return schemas.Cart{}, d.fault
	}
	c, err := d.cart()
	if err == nil {
		err = sound(c)
	}
	return c, err
}

func sound(c schemas.Cart) error {
	switch {
	case !schemas.ValidID(c.UserID):
		return fmt.Errorf("%w: nobody is named so", errUnsound)
	case c.Epoch < 0 || c.Epoch >= most || c.Version < 1 || c.Version >= most:
		return fmt.Errorf("%w: epoch %d, version %d", errUnsound, c.Epoch, c.Version)
	}
	books := map[string]bool{}
	for _, l := range c.Items {
		switch l.Availability {
		case schemas.Available, schemas.OutOfStock, schemas.Discontinued:
		default:
			return fmt.Errorf("%w: a line of availability %q", errUnsound, l.Availability)
		}
		if !schemas.ValidID(l.BookID) || books[l.BookID] || l.Quantity < 1 || l.Quantity >= most || l.UnitPrice < 0 || l.UnitPrice >= most/l.Quantity ||
			l.PreviousUnitPrice != nil && (*l.PreviousUnitPrice < 0 || *l.PreviousUnitPrice >= most) {
			return fmt.Errorf("%w: line %q", errUnsound, l.BookID)
		}
		books[l.BookID] = true
	}
	return nil
}

// documents are the carts in MongoDB.
type documents struct{ collection *mongo.Collection }

func openDocuments(db *mongo.Database) documents {
	// What a secondary hasn't got yet would look like drift.
	return documents{db.Collection("carts", options.Collection().SetReadPreference(readpref.Primary()))}
}

// find returns the users' documents, zero ones where there are none.
func (c documents) find(ctx context.Context, users []string) ([]document, error) {
	there := make(map[string]document, len(users))
	var room schemas.Cart
	err := c.each(ctx, among(users), options.Find().SetBatchSize(atOnce), func(id string, raw bson.Raw) bool {
		there[id] = readDocument(append(bson.Raw(nil), raw...), &room) // the cursor's is overwritten
		return true
	})
	found := make([]document, len(users))
	for i, u := range users {
		found[i] = there[u]
	}
	return found, err
}

func among(users []string) bson.D {
	return bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: users}}}}
}

// missing returns the users without a document.
func (c documents) missing(ctx context.Context, users []string) ([]string, error) {
	if len(users) == 0 {
		return nil, nil
	}
	there := make(map[string]bool, len(users))
	err := c.each(ctx, among(users), options.Find().SetBatchSize(atOnce).SetProjection(bson.D{{Key: "_id", Value: 1}}), func(id string, _ bson.Raw) bool {
		there[id] = true
		return true
	})
	var missing []string
	for _, u := range users {
		if !there[u] {
			missing = append(missing, u)
		}
	}
	return missing, err
}

// each calls visit with each document whose id is a text, as every cart's is, until it returns false.
func (c documents) each(ctx context.Context, filter bson.D, o *options.FindOptionsBuilder, visit func(id string, raw bson.Raw) bool) error {
	cursor, err := c.collection.Find(ctx, filter, o)
	if err != nil {
		return fmt.Errorf("read carts of MongoDB: %w", err)
	}
	defer func() { _ = cursor.Close(ctx) }()
	for cursor.Next(ctx) {
		if id, ok := cursor.Current.Lookup("_id").StringValueOK(); ok && !visit(id, cursor.Current) {
			return nil
		}
	}
	if err := cursor.Err(); err != nil {
		return fmt.Errorf("read carts of MongoDB: %w", err)
	}
	return nil
}

// replace puts the cart in the document's place, if its epoch and version are still those that were read. errMoved says that they
// aren't.
func (c documents) replace(ctx context.Context, d document, with schemas.Cart) error {
	filter := bson.D{{Key: "_id", Value: with.UserID}}
	for _, field := range []string{"epoch", "version"} {
		var held any = bson.D{{Key: "$exists", Value: false}}
		if v, err := d.raw.LookupErr(field); err == nil {
			held = v
		}
		filter = append(filter, bson.E{Key: field, Value: held})
	}
	if with.Items == nil {
		with.Items = []schemas.Line{}
	}
	result, err := c.collection.ReplaceOne(ctx, filter, with)
	if err != nil {
		return fmt.Errorf("replace the document of %s: %w", with.UserID, err)
	}
	if result.MatchedCount == 0 {
		return errMoved
	}
	return nil
}
