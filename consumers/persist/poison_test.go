package persist_test

import (
	"context"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/consumers/persist"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// One user's document was spoiled by hand, another's record is no JSON: both become dead letters, with their carts
// brought up to Redis where that is possible, and everybody else's go on.
func TestAPoisonRecordStopsNoOtherUser(t *testing.T) {
	b := setup(t)
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, schemas.CartEvents, schemas.CartDLQ))
	must(t, err)
	t.Cleanup(kafka.Close)
	brokers := kgo.SeedBrokers(kafka.ListenAddrs()...)

	spoiled, garbled, fine := story("spoiled", 2), story("garbled", 3), story("fine", 3)
	_, err = b.carts.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "spoiled"}, {Key: "version", Value: "seven"}})
	must(t, err)
	for _, h := range []*history{spoiled, garbled, fine} {
		b.redis.set(h.newest())
	}
	produce(t, brokers,
		record(fine.changes[0]), record(spoiled.changes[0]), record(garbled.changes[0]),
		&kgo.Record{Topic: schemas.CartEvents, Key: []byte("garbled"), Value: []byte(`{"userId":`)},
		record(fine.changes[1]), record(fine.changes[2]))

	r, err := runner.New(runner.Config{Kafka: []kgo.Opt{brokers}, DeadLetters: schemas.CartDLQ, Logger: quiet()},
		persist.Consumer(b.store))
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		must(t, <-ended)
	})

	classes := map[string]string{}
	reader, err := kgo.NewClient(brokers, kgo.ConsumeTopics(schemas.CartDLQ), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	must(t, err)
	t.Cleanup(reader.Close)
	for len(classes) < 2 {
		fetches := reader.PollFetches(t.Context())
		must(t, fetches.Err())
		fetches.EachRecord(func(letter *kgo.Record) {
			for _, header := range letter.Headers {
				if header.Key == runner.HeaderClass {
					classes[string(letter.Key)] = string(header.Value)
				}
			}
		})
	}
	if classes["spoiled"] != runner.ClassExhausted || classes["garbled"] != runner.ClassUndecodable {
		t.Errorf("dead letters: %v", classes)
	}
	for _, h := range []*history{fine, garbled} {
		await(t, h.newest().UserID+" is stored", func() bool {
			doc, _ := b.document(t, h.newest().UserID)
			return doc.Version == h.newest().Version
		})
	}
	if raw := b.raw(t, "spoiled").String(); !strings.Contains(raw, "seven") {
		t.Errorf("a document that can't be compared was overwritten: %s", raw)
	}
}

func record(c schemas.CartChanged) *kgo.Record {
	return &kgo.Record{Topic: schemas.CartEvents, Key: []byte(c.UserID), Value: schemas.EncodeCartChanged(c)}
}

func produce(t *testing.T, brokers kgo.Opt, records ...*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(brokers)
	must(t, err)
	defer client.Close()
	must(t, client.ProduceSync(t.Context(), records...).FirstErr())
}
