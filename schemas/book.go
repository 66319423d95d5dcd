package schemas

import "errors"

// ErrUnavailable is in the chain of every error that says that an engine can't be asked right now, so that whoever
// waits for it can try again. It never means that a request was wrong.
var ErrUnavailable = errors.New("engine unavailable")

// Book is one title of the catalogue: the body of the book calls and the document in MongoDB. UnitPrice is in minor
// units of Currency. Version grows by 1 with each change.
type Book struct {
	BookID    string       `json:"bookId" bson:"_id"`
	Title     string       `json:"title" bson:"title"`
	Author    string       `json:"author" bson:"author"`
	ISBN      string       `json:"isbn,omitempty" bson:"isbn,omitempty"`
	UnitPrice int64        `json:"unitPrice" bson:"unitPrice"`
	Currency  string       `json:"currency" bson:"currency"`
	Stock     int64        `json:"stock" bson:"stock"`
	Status    Availability `json:"status" bson:"status"`
	Version   int64        `json:"version" bson:"version"`
}

// BookEventType says what happened to a book.
type BookEventType string

// The types of a BookChanged.
const (
	BookCreated      BookEventType = "created"
	BookUpdated      BookEventType = "updated"
	BookDiscontinued BookEventType = "discontinued"
)

// BookChanged is the value in book.events.v1: the book as it is since Version. Events may repeat or come out of order;
// the highest version is the newest.
type BookChanged struct {
	BookID     string        `json:"bookId"`
	Version    int64         `json:"version"`
	Type       BookEventType `json:"type"`
	Title      string        `json:"title"`
	Author     string        `json:"author"`
	UnitPrice  int64         `json:"unitPrice"`
	Currency   string        `json:"currency"`
	Stock      int64         `json:"stock"`
	Status     Availability  `json:"status"`
	OccurredAt Time          `json:"occurredAt"`
}

// Event returns the change that leaves the book as it stands.
func (b Book) Event(kind BookEventType, at Time) BookChanged {
	return BookChanged{
		BookID: b.BookID, Version: b.Version, Type: kind, Title: b.Title, Author: b.Author, UnitPrice: b.UnitPrice,
		Currency: b.Currency, Stock: b.Stock, Status: b.Status, OccurredAt: at,
	}
}
