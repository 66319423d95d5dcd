package reminder

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"cartstream/api/cart"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// Deferrals is the collection of the reminders that a relay refused for now: `_id` is the user, `due` when it is tried next.
const Deferrals = "reminder_deferrals"

var (
	// waits are those after each refusal for now, 49 hours in all; the one after the last is the end.
	waits = []time.Duration{
		time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour, 8 * time.Hour, 12 * time.Hour, 12 * time.Hour, 12 * time.Hour,
	}
	// silences are those after a mail without an answer, 41 hours in all: the user may have got each of them.
	silences = []time.Duration{time.Hour, 4 * time.Hour, 12 * time.Hour, 24 * time.Hour}
)

// excused is for how long refusals don't count while the relay refuses everybody. Beyond, they do: everything ends one day.
const excused = 5 * 24 * time.Hour

// deferral is a reminder that waits for its next attempt, and all that is needed to park it one day. It holds no address.
type deferral struct {
	User    string `bson:"_id,omitempty"`
	Epoch   int64  `bson:"epoch"`
	Version int64  `bson:"version"`
	// Due is when it is tried next, or taken over from whoever tries it now.
	Due time.Time `bson:"due"`
	// Attempts is how often it was refused for now, Unanswered how often of these nothing was said. Said is what was, last.
	Attempts   int64  `bson:"attempts"`
	Unanswered int64  `bson:"unanswered"`
	Said       string `bson:"said"`
	// Letter is the id of its dead letter, and Before are the attempts of the one that was replayed.
	Letter string    `bson:"letter"`
	Before int64     `bson:"before"`
	First  time.Time `bson:"firstFailedAt"`
	Record original  `bson:"record"`
	// Revision grows by one with each change of the document.
	Revision int64 `bson:"revision"`
}

// original is the record of a reminder.
type original struct {
	Topic     string   `bson:"topic"`
	Partition int32    `bson:"partition"`
	Offset    int64    `bson:"offset"`
	Key       []byte   `bson:"key"`
	Value     []byte   `bson:"value"`
	Headers   []header `bson:"headers"`
}

type header struct {
	Name  []byte `bson:"name"` // what isn't UTF-8 stays as it is
	Value []byte `bson:"value"`
}

// newDeferral is that of a record whose mail was refused for now, for the first time. replayed is the letter that the
// record is of, nil for none.
func newDeferral(rec runner.Record[schemas.Reminder], group string, replayed *runner.Letter, now time.Time) deferral {
	r := rec.Value
	d := deferral{
		User: r.UserID, Epoch: r.Epoch, Version: r.Version, Letter: runner.LetterID(group, rec.Record), First: now, Revision: 1,
		Record: original{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Key: rec.Key, Value: rec.Record.Value},
	}
	for _, h := range rec.Headers {
		d.Record.Headers = append(d.Record.Headers, header{[]byte(h.Key), h.Value})
	}
	if replayed != nil {
		d.Letter, d.Before, d.First = replayed.ID, int64(replayed.Attempts), replayed.FirstFailed
	}
	return d
}

func (d deferral) reminder() schemas.Reminder {
	return schemas.Reminder{UserID: d.User, Epoch: d.Epoch, Version: d.Version}
}

func (d deferral) record() *kgo.Record {
	o := d.Record
	rec := &kgo.Record{Topic: o.Topic, Partition: o.Partition, Offset: o.Offset, Key: o.Key, Value: o.Value}
	for _, h := range o.Headers {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: string(h.Name), Value: h.Value})
	}
	return rec
}

// refused is the deferral after one more refusal for now. over says that it was the last.
func (d deferral) refused(f *failure, now time.Time) (next deferral, over bool) {
	d.Attempts++
	d.Said = f.Error()
	ladder, step := waits, d.Attempts
	if f.verdict == unanswered {
		d.Unanswered++
		ladder, step = silences, d.Unanswered
	}
	if int(d.Attempts) > len(waits) || int(step) > len(ladder) {
		return d, true
	}
	d.Due = now.Add(ladder[step-1])
	return d, false
}

// lastWait is the wait after the last refusal of that kind that counted.
func (d deferral) lastWait(f *failure) time.Duration {
	if f.verdict == unanswered {
		return silences[max(d.Unanswered, 1)-1]
	}
	return waits[max(d.Attempts, 1)-1]
}

// room keeps the deferrals in MongoDB, one a user.
type room struct {
	deferrals *mongo.Collection
	indexed   atomic.Bool
}

func newRoom(db *mongo.Database) *room {
	// The record's offset is committed next: what was put here must outlive a failover.
	return &room{deferrals: db.Collection(Deferrals,
		options.Collection().SetReadPreference(readpref.Primary()).SetWriteConcern(writeconcern.Majority()))}
}

// newest returns which reminder of the user waits, zero for none.
func (o *room) newest(ctx context.Context, user string) (cart.Tag, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var d deferral
	err := o.deferrals.FindOne(ctx, bson.M{"_id": user}, options.FindOne().SetProjection(bson.M{"epoch": 1, "version": 1})).Decode(&d)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return cart.Tag{}, fmt.Errorf("look which reminder waits: %w", err)
	}
	return cart.Tag{Epoch: d.Epoch, Version: d.Version}, nil
}

// put keeps the deferral, instead of an older reminder's of that user. It changes nothing where this one, or a newer one,
// waits already.
func (o *room) put(ctx context.Context, d deferral) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	older := bson.M{"_id": d.User, "$or": bson.A{
		bson.M{"epoch": bson.M{"$lt": d.Epoch}},
		bson.M{"epoch": d.Epoch, "version": bson.M{"$lt": d.Version}},
	}}
	d.User = "" // the filter says it
	set := bson.M{"$set": d}
	_, err := o.deferrals.UpdateOne(ctx, older, set, options.UpdateOne().SetUpsert(true))
	if mongo.IsDuplicateKeyError(err) {
		_, err = o.deferrals.UpdateOne(ctx, older, set)
	}
	if err != nil {
		return fmt.Errorf("defer the reminder: %w", err)
	}
	return nil
}

// due returns up to limit deferrals whose time has come, the oldest first, and how many there are of all.
func (o *room) due(ctx context.Context, now time.Time, limit int) (found []deferral, waiting int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if !o.indexed.Load() {
		if _, err := o.deferrals.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "due", Value: 1}}}); err != nil {
			return nil, 0, fmt.Errorf("index deferred reminders: %w", err)
		}
		o.indexed.Store(true)
	}
	if waiting, err = o.deferrals.CountDocuments(ctx, bson.M{}); err != nil {
		return nil, 0, fmt.Errorf("count deferred reminders: %w", err)
	}
	cursor, err := o.deferrals.Find(ctx, bson.M{"due": bson.M{"$lte": now}},
		options.Find().SetSort(bson.D{{Key: "due", Value: 1}}).SetLimit(int64(limit)))
	if err == nil {
		err = cursor.All(ctx, &found)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("find deferred reminders: %w", err)
	}
	return found, waiting, nil
}

// change makes the deferral what next says, or ends it where that is nil, and reports whether it still was as given: else
// somebody else has it, or a newer reminder replaced it. A changed one has the next revision.
func (o *room) change(ctx context.Context, d deferral, next *deferral) (ours bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	was := bson.M{"_id": d.User, "epoch": d.Epoch, "version": d.Version, "revision": d.Revision}
	if next == nil {
		gone, err := o.deferrals.DeleteOne(ctx, was)
		if err != nil {
			return false, fmt.Errorf("end a deferral: %w", err)
		}
		return gone.DeletedCount == 1, nil
	}
	result, err := o.deferrals.UpdateOne(ctx, was, bson.M{"$set": bson.M{
		"due": next.Due, "attempts": next.Attempts, "unanswered": next.Unanswered, "said": next.Said, "revision": d.Revision + 1,
	}})
	if err != nil {
		return false, fmt.Errorf("change a deferral: %w", err)
	}
	next.Revision = d.Revision + 1
	return result.MatchedCount == 1, nil
}
