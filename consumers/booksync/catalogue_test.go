package booksync_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"cartstream/consumers/booksync"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

func TestTheCatalogueIsMongoDBsBooks(t *testing.T) {
	uri := enginetest.Mongo(t)
	named, err := connstring.Parse(uri)
	must(t, err)
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	must(t, err)
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	db := client.Database(named.Database)
	gone := schemas.Book{BookID: "b2", Title: "Gone", UnitPrice: 5, Currency: "EUR", Stock: 3, Status: schemas.Discontinued, Version: 9}
	for _, b := range []schemas.Book{{BookID: "b1", Title: "Emma", Version: 1}, gone, {BookID: "b3", Title: "Other", Version: 1}} {
		_, err := db.Collection("books").InsertOne(t.Context(), b)
		must(t, err)
	}
	_, err = db.Collection("books").UpdateByID(t.Context(), "b2", bson.D{{Key: "$set", Value: bson.D{{Key: "later", Value: 1}}}})
	must(t, err)

	found, err := booksync.Books(db).Books(t.Context(), []string{"b1", "b2", "b9"})
	must(t, err)
	slices.SortFunc(found, func(a, b schemas.Book) int { return strings.Compare(a.BookID, b.BookID) })
	if len(found) != 2 || found[0].BookID != "b1" || found[1] != gone {
		t.Errorf("found %+v", found)
	}
}
