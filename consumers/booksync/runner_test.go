package booksync_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/consumers/runner"
	"cartstream/schemas"
)

func TestAnUnreadableEventIsParkedAndItsBookLookedUp(t *testing.T) {
	b := setup(t, 4)
	b.catalogue.books["b1"] = 4
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, schemas.BookEvents, schemas.CartDLQ))
	must(t, err)
	t.Cleanup(cluster.Close)
	brokers := kgo.SeedBrokers(cluster.ListenAddrs()...)
	client, err := kgo.NewClient(brokers, kgo.ConsumeTopics(schemas.CartDLQ))
	must(t, err)
	t.Cleanup(client.Close)
	r, err := runner.New(runner.Config{Kafka: []kgo.Opt{brokers}, DeadLetters: schemas.CartDLQ, Logger: slog.New(slog.DiscardHandler)}, b.consumer)
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		must(t, <-ended)
	})

	good := schemas.EncodeBookChanged(record("b2", 1).Value)
	for key, value := range map[string]string{"b1": `{"bookId":"b1","version":"four"}`, "b2": string(good)} {
		must(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: schemas.BookEvents, Key: []byte(key), Value: []byte(value)}).FirstErr())
	}
	letters := client.PollFetches(t.Context()).Records()
	if len(letters) != 1 || string(letters[0].Key) != "b1" || string(letters[0].Value) != `{"bookId":"b1","version":"four"}` {
		t.Errorf("dead letters: %v", letters)
	}
	deadline := time.After(20 * time.Second)
	for tick := time.NewTicker(2 * time.Millisecond); b.knows("b1", 4) != 4 || b.knows("b2", 1) != 4; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%d shards know b1, %d know b2", b.knows("b1", 4), b.knows("b2", 1))
		}
	}
}
