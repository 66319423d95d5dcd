package book

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"cartstream/schemas"
)

// How many books a Page can have.
const (
	DefaultLimit = 20
	MaxLimit     = 100
)

// Query says which books List returns.
type Query struct {
	// Cursor is the NextCursor of the page before, "" for the first page.
	Cursor string
	// Limit is 1 to MaxLimit; 0 is DefaultLimit.
	Limit int
	// Q, where not empty, asks for books of which each of its words is the start of a word of title or author. Case,
	// accents and punctuation don't matter.
	Q string
	// Status, where not empty, is the one that the books have. Discontinued ones are only returned when asked for.
	Status schemas.Availability
}

// Page is a part of the catalogue, in the order of the titles' code points, then of the ids.
type Page struct {
	Items []schemas.Book `json:"items"`
	// NextCursor leads to the next page; "" says that this is the last one.
	NextCursor string `json:"nextCursor,omitempty"`
}

// List returns a page of the books. Books that are added or renamed meanwhile appear where their title belongs; no other
// is skipped or repeated. It returns ErrBadCursor, or *Invalid.
func (s *Store) List(ctx context.Context, q Query) (Page, error) {
	if q.Limit == 0 {
		q.Limit = DefaultLimit
	}
	if err := invalid(q.check()); err != nil {
		return Page{}, err
	}
	after, err := parseCursor(q.Cursor)
	if err != nil {
		return Page{}, err
	}
	words, ok := sought(q.Q)
	if !ok {
		return Page{Items: []schemas.Book{}}, nil
	}

	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found, err := s.books.Find(ctx, q.filter(words, after), options.Find().
		SetSort(bson.D{{Key: "title", Value: 1}, {Key: "_id", Value: 1}}).
		SetLimit(int64(q.Limit)+1). // one more tells whether there is a next page
		SetProjection(bson.D{{Key: "words", Value: 0}}))
	if err != nil {
		return Page{}, failure("list books", "", err)
	}
	items := []schemas.Book{}
	if err := found.All(ctx, &items); err != nil {
		return Page{}, failure("list books", "", err)
	}
	if len(items) <= q.Limit {
		return Page{Items: items}, nil
	}
	items = items[:q.Limit]
	last := items[len(items)-1]
	return Page{Items: items, NextCursor: position{Title: last.Title, ID: last.BookID}.cursor()}, nil
}

func (q Query) check() []FieldError {
	var faults []FieldError
	if q.Limit < 1 || q.Limit > MaxLimit {
		faults = append(faults, FieldError{"limit", fmt.Sprintf("must be 1 to %d", MaxLimit)})
	}
	switch q.Status {
	case "", schemas.Available, schemas.OutOfStock, schemas.Discontinued:
	default:
		faults = append(faults, FieldError{"status", "must be available, out_of_stock or discontinued"})
	}
	return faults
}

func (q Query) filter(words []string, after *position) bson.D {
	filter := bson.D{}
	if q.Status == "" {
		filter = append(filter, bson.E{Key: "status", Value: bson.D{{Key: "$in", Value: bson.A{schemas.Available, schemas.OutOfStock}}}})
	} else {
		filter = append(filter, bson.E{Key: "status", Value: q.Status})
	}
	if after != nil {
		// The first condition bounds the scan of the index, the second takes out the books of the same title before.
		filter = append(filter,
			bson.E{Key: "title", Value: bson.D{{Key: "$gte", Value: after.Title}}},
			bson.E{Key: "$or", Value: bson.A{
				bson.D{{Key: "title", Value: bson.D{{Key: "$gt", Value: after.Title}}}},
				bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after.ID}}}},
			}})
	}
	if len(words) > 0 {
		all := make(bson.A, len(words))
		for i, word := range words {
			// An anchored expression of plain letters is a range of the index. A word holds nothing to escape.
			all[i] = bson.D{{Key: "words", Value: bson.Regex{Pattern: "^" + word}}}
		}
		filter = append(filter, bson.E{Key: "$and", Value: all})
	}
	return filter
}

// indexes of the collection: for the order of List, alone and with a status, for its words, for Run, and for whoever
// wants to know what changed since some time.
func indexes() []mongo.IndexModel {
	return []mongo.IndexModel{
		{Keys: bson.D{{Key: "title", Value: 1}, {Key: "_id", Value: 1}}},
		{Keys: bson.D{{Key: "status", Value: 1}, {Key: "title", Value: 1}, {Key: "_id", Value: 1}}},
		{Keys: bson.D{{Key: "words", Value: 1}}},
		{Keys: bson.D{{Key: "unpublished", Value: 1}}},
		{Keys: bson.D{{Key: "changedAt", Value: 1}}},
	}
}

// position is that of a book in the order of List. It holds the title, so that it stays where it was if the book is
// renamed.
type position struct {
	Title string `json:"t"`
	ID    string `json:"i"`
}

func (p position) cursor() string {
	b, _ := json.Marshal(p) // two strings always can be
	return base64.RawURLEncoding.EncodeToString(b)
}

// parseCursor returns nil for the start.
func parseCursor(cursor string) (*position, error) {
	if cursor == "" {
		return nil, nil //nolint:nilnil // no position is a position: the start
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCursor, err)
	}
	var p position
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCursor, err)
	}
	if p.cursor() != cursor || checkText(&p.Title) != "" || !schemas.ValidID(p.ID) {
		return nil, fmt.Errorf("%w: no position in the catalogue", ErrBadCursor)
	}
	return &p, nil
}
