package deadletter

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"cartstream/schemas"
)

// Collection is where the letters are, AuditCollection what was done with them and by whom. The first can be dropped: it
// is built anew from the topic and from the second.
const (
	Collection      = "dead_letters"
	AuditCollection = "dead_letter_audit"
)

// Index is the letters in MongoDB. It may be used by any number of goroutines and processes: a document changes only from
// the revision that was read. Errors have schemas.ErrUnavailable in their chain, or are ErrNotFound.
type Index struct {
	letters *mongo.Collection
	audit   *audit
}

// ErrNotFound says that there is no such letter.
var ErrNotFound = errors.New("no such letter")

// NewIndex returns the index in the database, which it neither waits for nor closes.
func NewIndex(db *mongo.Database) *Index {
	// A letter may be nowhere else, and a decision is nowhere else: both must outlive a failover.
	primary := options.Collection().SetReadPreference(readpref.Primary()).SetWriteConcern(writeconcern.Majority())
	return &Index{
		letters: db.Collection(Collection, primary),
		audit:   &audit{entries: db.Collection(AuditCollection, primary)},
	}
}

func unavailable(what string, err error) error {
	return fmt.Errorf("%s: %w: %w", what, schemas.ErrUnavailable, err)
}

// put stores letters, each once however often it comes; one that is stored is brought up to what comes.
func (x *Index) put(ctx context.Context, letters []letter) error {
	known, err := x.known(ctx, letters)
	if err != nil {
		return err
	}
	var added []letter
	for _, l := range letters {
		i := slices.IndexFunc(added, func(a letter) bool { return a.ID == l.ID })
		switch {
		case i >= 0:
			added[i].fold(l)
		case !known[l.ID]:
			added = append(added, l)
		default:
			if err := x.fold(ctx, l); err != nil {
				return err
			}
		}
	}
	return x.add(ctx, added)
}

func (x *Index) known(ctx context.Context, letters []letter) (map[string]bool, error) {
	ids := make([]string, len(letters))
	for i, l := range letters {
		ids[i] = l.ID
	}
	cursor, err := x.letters.Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}},
		options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return nil, unavailable("look up letters", err)
	}
	var found []struct {
		ID string `bson:"_id"`
	}
	if err := cursor.All(ctx, &found); err != nil {
		return nil, unavailable("look up letters", err)
	}
	known := make(map[string]bool, len(letters))
	for _, f := range found {
		known[f.ID] = true
	}
	return known, nil
}

// add inserts letters that weren't there, with what operators decided about them before the index was built anew.
func (x *Index) add(ctx context.Context, letters []letter) error {
	if len(letters) == 0 {
		return nil
	}
	if err := x.audit.recall(ctx, letters); err != nil {
		return err
	}
	_, err := x.letters.InsertMany(ctx, letters)
	switch {
	case err == nil:
		return nil
	case !mongo.IsDuplicateKeyError(err):
		return unavailable("index letters", err)
	}
	for _, l := range letters { // somebody else indexes the same
		_, err := x.letters.InsertOne(ctx, l)
		if mongo.IsDuplicateKeyError(err) {
			if err := x.fold(ctx, l); err != nil {
				return err
			}
		} else if err != nil {
			return unavailable("index letter "+l.ID, err)
		}
	}
	return nil
}

func (x *Index) fold(ctx context.Context, l letter) error {
	_, err := x.change(ctx, l.ID, func(stored *letter) bool { return stored.fold(l) })
	return err
}

// withoutValue is a projection.
var withoutValue = bson.D{{Key: "value", Value: 0}}

// find returns the letter, with its value.
func (x *Index) find(ctx context.Context, id string) (*letter, error) { return x.read(ctx, id, nil) }

func (x *Index) read(ctx context.Context, id string, projection any) (*letter, error) {
	var l letter
	one := options.FindOne()
	if projection != nil {
		one.SetProjection(projection)
	}
	err := x.letters.FindOne(ctx, bson.D{{Key: "_id", Value: id}}, one).Decode(&l)
	switch {
	case errors.Is(err, mongo.ErrNoDocuments), id == marker:
		return nil, fmt.Errorf("letter %s: %w", id, ErrNotFound)
	case err != nil:
		return nil, unavailable("read letter "+id, err)
	}
	return &l, nil
}

// change edits the letter under the revision that was read, over again for as long as others are faster, and returns it
// as it then is, without its value. edit reports whether it changed anything.
func (x *Index) change(ctx context.Context, id string, edit func(*letter) bool) (*letter, error) {
	for {
		l, err := x.read(ctx, id, withoutValue)
		if err != nil {
			return nil, err
		}
		was := bson.D{{Key: "_id", Value: id}, {Key: "revision", Value: l.Revision}}
		if !edit(l) {
			return l, nil
		}
		l.Revision++
		result, err := x.letters.UpdateOne(ctx, was, bson.D{{Key: "$set", Value: l.mutable()}})
		if err != nil {
			return nil, unavailable("change letter "+id, err)
		}
		if result.MatchedCount == 1 {
			return l, nil
		}
	}
}

// mutable is all of a letter that can change.
func (l *letter) mutable() bson.D {
	return bson.D{
		{Key: "class", Value: l.Class}, {Key: "error", Value: l.Error}, {Key: "attempts", Value: l.Attempts},
		{Key: "firstFailedAt", Value: l.FirstFailedAt}, {Key: "lastFailedAt", Value: l.LastFailedAt},
		{Key: "status", Value: l.Status}, {Key: "resolvedAt", Value: l.ResolvedAt}, {Key: "reason", Value: l.Reason},
		{Key: "request", Value: l.Request}, {Key: "at", Value: l.At}, {Key: "unwritten", Value: l.Unwritten},
		{Key: "headers", Value: l.Headers}, {Key: "revision", Value: l.Revision},
	}
}

// Park stores letters that the topic doesn't take, whole, until Written says that it did. It makes the Index a
// runner.Parker.
func (x *Index) Park(ctx context.Context, letters []*kgo.Record) error {
	parsed := make([]letter, len(letters))
	for i, rec := range letters {
		parsed[i] = parse(rec)
		parsed[i].Unwritten = true
	}
	return x.put(ctx, parsed)
}

// Unwritten returns up to limit letters that the topic didn't take, ready to be produced, in the order of their ids and
// without the first skip of them.
func (x *Index) Unwritten(ctx context.Context, skip, limit int) ([]*kgo.Record, error) {
	cursor, err := x.letters.Find(ctx, bson.D{{Key: "unwritten", Value: true}},
		options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}).SetSkip(int64(skip)).SetLimit(int64(limit)))
	if err != nil {
		return nil, unavailable("find unwritten letters", err)
	}
	var found []letter
	if err := cursor.All(ctx, &found); err != nil {
		return nil, unavailable("find unwritten letters", err)
	}
	records := make([]*kgo.Record, len(found))
	for i := range found {
		records[i] = found[i].record()
	}
	return records, nil
}

// Written says that the topic has the letters, as Unwritten returned them. One that failed once more since stays
// unwritten.
func (x *Index) Written(ctx context.Context, letters ...*kgo.Record) error {
	for _, rec := range letters {
		written := parse(rec)
		_, err := x.change(ctx, written.ID, func(l *letter) bool {
			done := l.Unwritten && l.Attempts <= written.Attempts
			if done {
				l.Unwritten = false
			}
			return done
		})
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}
