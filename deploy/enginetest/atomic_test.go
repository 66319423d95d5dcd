package enginetest_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"cartstream/deploy/enginetest"
)

func TestOfConditionalUpdatesOfOneVersionOneSucceeds(t *testing.T) {
	uri := enginetest.Mongo(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(ctx) }()
	docs := client.Database("atomic").Collection("docs")
	if _, err := docs.InsertOne(ctx, bson.M{"_id": "a", "version": int64(0)}); err != nil {
		t.Fatal(err)
	}

	read := func() (version int64) {
		var d struct{ Version int64 }
		if err := docs.FindOne(ctx, bson.M{"_id": "a"}).Decode(&d); err != nil {
			t.Error(err)
		}
		return d.Version
	}
	var succeeded atomic.Int64
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for range 30 {
				version := read()
				r, err := docs.UpdateOne(ctx, bson.M{"_id": "a", "version": version}, bson.M{"$set": bson.M{"version": version + 1}})
				if err != nil {
					t.Error(err)
					return
				}
				succeeded.Add(r.MatchedCount)
			}
		})
	}
	writers.Wait()
	if version := read(); version != succeeded.Load() {
		t.Errorf("%d updates succeeded, but the document is at version %d", succeeded.Load(), version)
	}
}

func TestABulkOfHundredsOfUpdatesEnds(t *testing.T) {
	uri := enginetest.Mongo(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(context.Background()) }()
	docs := client.Database("bulk").Collection("docs")
	const n = 300
	inserts, updates := make([]mongo.WriteModel, n), make([]mongo.WriteModel, n)
	for i := range n {
		inserts[i] = mongo.NewInsertOneModel().SetDocument(bson.M{"_id": i, "version": 1})
		updates[i] = mongo.NewUpdateOneModel().SetFilter(bson.M{"_id": i}).SetUpdate(bson.M{"$set": bson.M{"version": 2}})
	}
	if _, err := docs.BulkWrite(ctx, inserts); err != nil {
		t.Fatal(err)
	}
	r, err := docs.BulkWrite(ctx, updates, options.BulkWrite().SetOrdered(false))
	if err != nil {
		t.Fatal(err)
	}
	if r.ModifiedCount != n {
		t.Errorf("%d of %d updates", r.ModifiedCount, n)
	}
}
