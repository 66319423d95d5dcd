package optout_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"cartstream/deploy/enginetest"
	"cartstream/schemas"
	"cartstream/schemas/env"
	"cartstream/schemas/optout"
)

func open(t *testing.T, uri string) *mongo.Database {
	t.Helper()
	settings := env.MongoDB{URI: env.Secret(uri)}
	db, err := settings.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Client().Disconnect(context.Background()) })
	return db
}

func has(t *testing.T, s *optout.Store, user string) bool {
	t.Helper()
	yes, err := s.Has(t.Context(), user)
	if err != nil {
		t.Fatal(err)
	}
	return yes
}

func TestWhoOptedOutHasOptedOut(t *testing.T) {
	db := open(t, enginetest.Mongo(t))
	s := optout.New(db)
	if has(t, s, "u1") {
		t.Fatal("u1 has, before anybody said so")
	}
	first := time.UnixMilli(1795341600000).UTC()
	for _, at := range []time.Time{first, first.Add(time.Hour)} {
		if err := s.Add(t.Context(), "u1", at); err != nil {
			t.Fatal(err)
		}
	}
	if !has(t, s, "u1") || has(t, s, "u2") {
		t.Errorf("u1 has: %v, u2 has: %v", has(t, s, "u1"), has(t, s, "u2"))
	}
	var d optout.Document
	if err := db.Collection(optout.Collection).FindOne(t.Context(), bson.M{"_id": "u1"}).Decode(&d); err != nil {
		t.Fatal(err)
	}
	if d.User != "u1" || !d.At.Equal(first) {
		t.Errorf("the document is %+v, want the first time", d)
	}
}

func TestTwoWhoOptOutTheSameUserAtOnceBothSucceed(t *testing.T) {
	s := optout.New(open(t, enginetest.Mongo(t)))
	var (
		all    sync.WaitGroup
		faults = make(chan error, 16)
	)
	for range cap(faults) {
		all.Go(func() { faults <- s.Add(t.Context(), "u1", time.Now()) })
	}
	all.Wait()
	close(faults)
	for err := range faults {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestWithoutMongoDBNobodyKnows(t *testing.T) {
	server := enginetest.EmbeddedMongo(t)
	s := optout.New(open(t, server.Addr))
	server.Stop()
	if err := s.Add(t.Context(), "u1", time.Now()); !errors.Is(err, schemas.ErrUnavailable) {
		t.Errorf("opting out: %v", err)
	}
	if _, err := s.Has(t.Context(), "u1"); !errors.Is(err, schemas.ErrUnavailable) {
		t.Errorf("asking: %v", err)
	}
}
