package book

import (
	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/schemas"
)

// collection holds one document for each book there ever was.
const collection = "books"

// document is a book as MongoDB holds it: what everyone may read, then what is the catalogue's own. Everything that the
// event of its version is made of stands in it, so that a repeat has the same contents.
type document struct {
	schemas.Book `bson:",inline"`
	// Words are those of title and author, as search knows them.
	Words []string `bson:"words"`
	// ChangedAt, Change and TraceParent belong to the change that made Version.
	ChangedAt   schemas.Time          `bson:"changedAt"`
	Change      schemas.BookEventType `bson:"change"`
	TraceParent string                `bson:"traceParent"`
	// Unpublished is Version until Kafka is known to have its event, then 0.
	Unpublished int64 `bson:"unpublished"`
}

// newDocument returns the book as its change at that time leaves it, marked unpublished.
func newDocument(b schemas.Book, kind schemas.BookEventType, at schemas.Time, traceParent string) document {
	if traceParent == "" {
		traceParent = schemas.NewTraceParent()
	}
	return document{
		Book: b, Words: indexed(b.Title, b.Author), ChangedAt: at, Change: kind, TraceParent: traceParent,
		Unpublished: b.Version,
	}
}

// event returns what the change of d's version says to Kafka: the same bytes each time.
func (d document) event() schemas.BookChanged { return d.Event(d.Change, d.ChangedAt) }

// update replaces every field of d and leaves those of a newer release alone.
func (d document) update() bson.D {
	to := bson.D{
		{Key: "title", Value: d.Title},
		{Key: "author", Value: d.Author},
		{Key: "unitPrice", Value: d.UnitPrice},
		{Key: "currency", Value: d.Currency},
		{Key: "stock", Value: d.Stock},
		{Key: "status", Value: d.Status},
		{Key: "version", Value: d.Version},
		{Key: "words", Value: d.Words},
		{Key: "changedAt", Value: d.ChangedAt},
		{Key: "change", Value: d.Change},
		{Key: "traceParent", Value: d.TraceParent},
		{Key: "unpublished", Value: d.Unpublished},
	}
	if d.ISBN == "" {
		return bson.D{{Key: "$set", Value: to}, {Key: "$unset", Value: bson.D{{Key: "isbn", Value: ""}}}}
	}
	return bson.D{{Key: "$set", Value: append(to, bson.E{Key: "isbn", Value: d.ISBN})}}
}
