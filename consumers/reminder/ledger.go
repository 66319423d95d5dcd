package reminder

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// Collection holds the newest reminder that each user was sent: `_id` is the user. It needs no other index.
const Collection = "reminders"

// wait bounds one call of MongoDB.
const wait = 5 * time.Second

// store is the ledger of what was sent, in MongoDB. A user's document never goes back to an older reminder.
type store struct{ reminders *mongo.Collection }

func newStore(db *mongo.Database) store {
	// A secondary may not know yet what was just sent.
	return store{db.Collection(Collection, options.Collection().SetReadPreference(readpref.Primary()))}
}

// last returns the newest reminder that the user was sent, zero for none.
func (s store) last(ctx context.Context, user string) (cart.Tag, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var d struct {
		Epoch   int64 `bson:"epoch"`
		Version int64 `bson:"version"`
	}
	err := s.reminders.FindOne(ctx, bson.M{"_id": user}).Decode(&d)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return cart.Tag{}, fmt.Errorf("look which reminder was sent: %w", err)
	}
	return cart.Tag{Epoch: d.Epoch, Version: d.Version}, nil
}

// keep notes that the reminder was sent, unless a newer one was.
func (s store) keep(ctx context.Context, r schemas.Reminder, at time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	older := bson.M{"_id": r.UserID, "$or": bson.A{
		bson.M{"epoch": bson.M{"$lt": r.Epoch}},
		bson.M{"epoch": r.Epoch, "version": bson.M{"$lt": r.Version}},
	}}
	set := bson.M{"$set": bson.M{"epoch": r.Epoch, "version": r.Version, "sentAt": at}}
	_, err := s.reminders.UpdateOne(ctx, older, set, options.UpdateOne().SetUpsert(true))
	if mongo.IsDuplicateKeyError(err) {
		// Either this or a newer one is kept, or a racing call's first one, which the same update replaces.
		_, err = s.reminders.UpdateOne(ctx, older, set)
	}
	if err != nil {
		return fmt.Errorf("keep that the reminder was sent: %w", err)
	}
	return nil
}
