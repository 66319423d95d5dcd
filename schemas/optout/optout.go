// Package optout keeps who wants no reminders: written by the API when a mail's link is followed, read by the mailer
// right before it sends.
package optout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"cartstream/schemas"
)

// Collection holds a document for each user who opted out. Whoever deletes one lets the reminders come again.
const Collection = "reminder_optouts"

// Document is one user's wish, and when it was first told.
type Document struct {
	User string    `bson:"_id"`
	At   time.Time `bson:"at"`
}

// wait bounds one call, so that nobody waits long for a MongoDB that is away.
const wait = 5 * time.Second

// Store reads and writes the collection. It may be used by many goroutines.
type Store struct{ users *mongo.Collection }

// New returns a Store on the database, which it neither waits for nor closes.
func New(db *mongo.Database) *Store {
	// A secondary may not know yet what was just told.
	return &Store{db.Collection(Collection, options.Collection().SetReadPreference(readpref.Primary()))}
}

// Add notes that the user wants no reminders, from at on; again, it changes nothing. The error has
// schemas.ErrUnavailable in its chain; the wish may be noted even so, and adding it again is safe.
func (s *Store) Add(ctx context.Context, user string, at time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	_, err := s.users.UpdateOne(ctx, bson.M{"_id": user}, bson.M{"$setOnInsert": bson.M{"at": at}}, options.UpdateOne().SetUpsert(true))
	if mongo.IsDuplicateKeyError(err) {
		return nil // another call was a moment earlier
	}
	if err != nil {
		return fmt.Errorf("opt out %s: %w: %w", user, schemas.ErrUnavailable, err)
	}
	return nil
}

// Has reports whether the user wants no reminders. The error has schemas.ErrUnavailable in its chain.
func (s *Store) Has(ctx context.Context, user string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err := s.users.FindOne(ctx, bson.M{"_id": user}, options.FindOne().SetProjection(bson.M{"_id": 1})).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look whether %s opted out: %w: %w", user, schemas.ErrUnavailable, err)
	}
	return true, nil
}
