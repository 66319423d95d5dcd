package deadletter

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"cartstream/schemas"
)

// audit keeps who did what with which letter, and what came of it. Entries are only ever added and finished.
type audit struct{ entries *mongo.Collection }

// Entry is one thing that was done with a letter.
type Entry struct {
	ID     string       `bson:"_id" json:"-"`
	Letter string       `bson:"letter" json:"-"`
	At     schemas.Time `bson:"at" json:"at"`
	By     string       `bson:"by" json:"by"`         // the caller's subject
	Action string       `bson:"action" json:"action"` // replay or discard
	Reason string       `bson:"reason" json:"reason,omitempty"`
	// Outcome is begun until it is known: replayed, discarded, superseded, which replayed nothing, "failed: …", or "undone: …",
	// which left the letter as it was.
	Outcome string `bson:"outcome" json:"outcome"`
}

const (
	actionReplay  = "replay"
	actionDiscard = "discard"
	begun         = "begun"
)

// begin notes what somebody is about to do, before it is done, and returns the entry's id.
func (a *audit) begin(ctx context.Context, letter, by, action, reason string) (string, error) {
	e := Entry{
		ID: bson.NewObjectID().Hex(), Letter: letter, At: schemas.At(time.Now()), By: by, Action: action, Reason: reason, Outcome: begun,
	}
	if _, err := a.entries.InsertOne(ctx, e); err != nil {
		return "", unavailable("note who changes letter "+letter, err)
	}
	return e.ID, nil
}

// end notes what came of it.
func (a *audit) end(ctx context.Context, entry, outcome string) error {
	_, err := a.entries.UpdateOne(ctx, bson.D{{Key: "_id", Value: entry}},
		bson.D{{Key: "$set", Value: bson.D{{Key: "outcome", Value: outcome}}}})
	if err != nil {
		return unavailable("note what came of "+entry, err)
	}
	return nil
}

// of returns the letter's entries, oldest first.
func (a *audit) of(ctx context.Context, letters ...string) ([]Entry, error) {
	cursor, err := a.entries.Find(ctx, bson.D{{Key: "letter", Value: bson.D{{Key: "$in", Value: letters}}}},
		options.Find().SetSort(bson.D{{Key: "at", Value: 1}, {Key: "_id", Value: 1}}))
	if err != nil {
		return nil, unavailable("read the audit trail", err)
	}
	entries := []Entry{}
	if err := cursor.All(ctx, &entries); err != nil {
		return nil, unavailable("read the audit trail", err)
	}
	return entries, nil
}

// recall gives letters the end that operators decided on, after the record failed last.
func (a *audit) recall(ctx context.Context, letters []letter) error {
	ids := make([]string, len(letters))
	of := make(map[string]*letter, len(letters))
	for i := range letters {
		ids[i] = letters[i].ID
		of[ids[i]] = &letters[i]
	}
	entries, err := a.of(ctx, ids...)
	if err != nil {
		return err
	}
	for _, e := range entries {
		l, end := of[e.Letter], Status(e.Outcome)
		if (end == Replayed || end == Discarded) && !e.At.Before(l.LastFailedAt.Time) {
			l.resolve(end, e.At, e.Reason)
		}
	}
	return nil
}
