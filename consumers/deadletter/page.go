package deadletter

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"cartstream/schemas"
)

// Filter says which letters are meant; an empty field means any.
type Filter struct {
	Group  string
	Class  string
	UserID string
	Status Status
}

// How many letters a page can have.
const (
	defaultLimit = 20
	maxLimit     = 100
)

// marker is the id of a document that is no letter: it says that the index holds the whole topic. No letter can have it: ids
// that others write have no spaces.
const marker = "the index is whole"

// query is the filter, and never the marker.
func (f Filter) query() bson.D {
	q := bson.D{}
	for _, c := range []struct{ name, value string }{
		{"group", f.Group}, {"class", f.Class}, {"userId", f.UserID}, {"status", string(f.Status)},
	} {
		if c.value != "" {
			q = append(q, bson.E{Key: c.name, Value: c.value})
		}
	}
	return q
}

// position is where a page ends.
type position struct {
	LastFailedAt int64  `json:"t"`
	ID           string `json:"i"`
}

var errBadCursor = errors.New("bad cursor")

func (p position) String() string {
	raw, _ := json.Marshal(p) //nolint:errchkjson // a number and a text
	return base64.RawURLEncoding.EncodeToString(raw)
}

func parsePosition(cursor string) (p position, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || json.Unmarshal(raw, &p) != nil || p.ID == "" || p.String() != cursor {
		return p, errBadCursor
	}
	return p, nil
}

// page returns up to limit letters after the position, newest failure first, then by id; nil is the beginning. more says
// that there are others. each sees a letter with its value; the letters that are returned have none.
func (x *Index) page(ctx context.Context, f Filter, after *position, limit int, each func(*letter)) (letters []*letter, more bool, err error) {
	q := append(f.query(), bson.E{Key: "_id", Value: bson.D{{Key: "$ne", Value: marker}}})
	if after != nil {
		at := schemas.Milliseconds(after.LastFailedAt)
		q = append(q, bson.E{Key: "$or", Value: bson.A{
			bson.D{{Key: "lastFailedAt", Value: bson.D{{Key: "$lt", Value: at}}}},
			bson.D{{Key: "lastFailedAt", Value: at}, {Key: "_id", Value: bson.D{{Key: "$lt", Value: after.ID}}}},
		}})
	}
	return x.scan(ctx, q, bson.D{{Key: "lastFailedAt", Value: -1}, {Key: "_id", Value: -1}}, limit, each)
}

// next returns up to limit letters with ids after that one, by id: an order that no change disturbs.
func (x *Index) next(ctx context.Context, f Filter, after string, limit int, each func(*letter)) (letters []*letter, more bool, err error) {
	id := bson.D{{Key: "$ne", Value: marker}, {Key: "$gt", Value: after}}
	return x.scan(ctx, append(f.query(), bson.E{Key: "_id", Value: id}), bson.D{{Key: "_id", Value: 1}}, limit, each)
}

// scan holds one value at a time, since values can be large.
func (x *Index) scan(ctx context.Context, q, order bson.D, limit int, each func(*letter)) (letters []*letter, more bool, err error) {
	cursor, err := x.letters.Find(ctx, q, options.Find().SetSort(order).SetLimit(int64(limit)+1).SetBatchSize(10))
	if err != nil {
		return nil, false, unavailable("find letters", err)
	}
	defer func() { _ = cursor.Close(context.WithoutCancel(ctx)) }()
	for cursor.Next(ctx) {
		if len(letters) == limit {
			return letters, true, nil
		}
		l := &letter{}
		if err := cursor.Decode(l); err != nil {
			return nil, false, unavailable("read letters", err)
		}
		each(l)
		l.Value = nil
		letters = append(letters, l)
	}
	if err := cursor.Err(); err != nil {
		return nil, false, unavailable("find letters", err)
	}
	return letters, false, nil
}
