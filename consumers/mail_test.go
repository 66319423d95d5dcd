package main

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/consumers/reminder"
	"cartstream/deploy/enginetest"
	"cartstream/schemas/env"
	"cartstream/schemas/optout"
)

// A reminder that was deferred by a process that is gone is taken up by the next.
func TestDeferredRemindersAreTriedBesideTheMailer(t *testing.T) {
	at := addresses{redis: enginetest.Redis(t), kafka: enginetest.Kafka(t), mongo: enginetest.Mongo(t)}
	db, err := (&env.MongoDB{URI: env.Secret(at.mongo)}).Open()
	must(t, err)
	t.Cleanup(func() { _ = db.Client().Disconnect(t.Context()) })
	must(t, optout.New(db).Add(t.Context(), "u1", time.Now())) // so that it ends without a relay
	waiting := db.Collection(reminder.Deferrals)
	_, err = waiting.InsertOne(t.Context(), bson.M{"_id": "u1", "epoch": int64(1), "version": int64(7), "due": time.Now(), "revision": int64(1)})
	must(t, err)
	environment := at.env()
	environment["SMTP_ADDR"], environment["MAIL_FROM"] = "127.0.0.1:1", "shop@example.com"
	p := start(t, environment, mailer)
	p.await("it is dropped", func() bool {
		n, err := waiting.CountDocuments(t.Context(), bson.M{})
		return err == nil && n == 0
	})
	p.stop(t)
}
