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
)

// document is a cart as MongoDB has it.
type document struct {
	cart   schemas.Cart
	digest cart.Digest
	raw    bson.Raw
	// fault is why the document can't be read; its digest is that of no cart then.
	fault error
}

func (d document) there() bool { return d.raw != nil }

// readDocument works out the digest from what the document really holds, so that a change by hand is noticed too.
func readDocument(raw bson.Raw) document {
	d := document{raw: append(bson.Raw(nil), raw...)} // the cursor's is overwritten
	err := bson.Unmarshal(d.raw, &d.cart)
	if err == nil && d.cart.Version < 1 {
		err = fmt.Errorf("version %d", d.cart.Version)
	}
	if err != nil {
		d.cart, d.fault = schemas.Cart{}, fmt.Errorf("the document can't be read: %w", err)
		return d
	}
	d.digest = cart.DigestOf(d.cart)
	return d
}

// errUnsound says that a document holds what no cart can.
var errUnsound = errors.New("the document is no cart")

// most is the highest number that Redis's scripts know exactly.
const most = 1 << 53

// sound returns an error where the document isn't one that Redis can take.
func (d document) sound() error {
	c := d.cart
	switch {
	case d.fault != nil:
		return d.fault
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

// find returns the documents that there are, by user.
func (c documents) find(ctx context.Context, users []string) (map[string]document, error) {
	found := make(map[string]document, len(users))
	err := c.each(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: users}}}}, options.Find(), func(id string, raw bson.Raw) {
		found[id] = readDocument(raw)
	})
	return found, err
}

// missing returns the users without a document.
func (c documents) missing(ctx context.Context, users []string) ([]string, error) {
	if len(users) == 0 {
		return nil, nil
	}
	there := make(map[string]bool, len(users))
	err := c.each(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: users}}}}, ids(), func(id string, _ bson.Raw) { there[id] = true })
	var missing []string
	for _, u := range users {
		if !there[u] {
			missing = append(missing, u)
		}
	}
	return missing, err
}

// documentsPage is some documents, in the order of their ids.
type documentsPage struct {
	users     []string
	documents map[string]document
	last      string // "" where there are no more
	err       error
}

// page returns the documents that follow an id, limit at most, fewer where they are large.
func (c documents) page(ctx context.Context, after string, limit int) documentsPage {
	p := documentsPage{documents: make(map[string]document, limit)}
	bytes := 0
	p.err = c.each(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}},
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)), func(id string, raw bson.Raw) {
			if bytes < pageBytes {
				p.users, p.documents[id], p.last = append(p.users, id), readDocument(raw), id
			}
			bytes += len(raw)
		})
	return p
}

func ids() *options.FindOptionsBuilder {
	return options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}})
}

// each calls visit with each document whose id is a text, as every cart's is.
func (c documents) each(ctx context.Context, filter bson.D, o *options.FindOptionsBuilder, visit func(id string, raw bson.Raw)) error {
	cursor, err := c.collection.Find(ctx, filter, o.SetBatchSize(atOnce))
	if err != nil {
		return fmt.Errorf("read carts of MongoDB: %w", err)
	}
	defer func() { _ = cursor.Close(ctx) }()
	for cursor.Next(ctx) {
		if id, ok := cursor.Current.Lookup("_id").StringValueOK(); ok {
			visit(id, cursor.Current)
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
