package booksync

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"cartstream/schemas"
)

type books struct{ collection *mongo.Collection }

// Books is the catalogue in the database. What it returns is at least as new as every event that was published before.
func Books(db *mongo.Database) Catalogue {
	return books{db.Collection("books", options.Collection().
		SetReadPreference(readpref.Primary()).SetReadConcern(readconcern.Majority()))}
}

// shown are the fields that carts show, and the version.
var shown = bson.D{
	{Key: "title", Value: 1}, {Key: "unitPrice", Value: 1}, {Key: "currency", Value: 1}, {Key: "stock", Value: 1},
	{Key: "status", Value: 1}, {Key: "version", Value: 1},
}

func (b books) Books(ctx context.Context, ids []string) ([]schemas.Book, error) {
	cursor, err := b.collection.Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}, options.Find().SetProjection(shown))
	if err != nil {
		return nil, fmt.Errorf("find %d books: %w", len(ids), err)
	}
	var found []schemas.Book
	if err := cursor.All(ctx, &found); err != nil {
		return nil, fmt.Errorf("find %d books: %w", len(ids), err)
	}
	return found, nil
}
