package booksync_test

import (
	"context"
	"errors"
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

// A letter may be replayed days later, when no shard remembers what came after it.
func TestAReplayedLetterIsComparedWithTheCatalogue(t *testing.T) {
	b := setup(t, 2)
	b.catalogue.books["b1"] = 4
	r, err := runner.New(runner.Config{
		Kafka: []kgo.Opt{kgo.SeedBrokers("127.0.0.1:1")}, DeadLetters: schemas.CartDLQ, Logger: slog.New(slog.DiscardHandler),
	}, b.consumer)
	must(t, err)
	parked := record("b1", 3) // by a clock that says that it is new
	letter := &kgo.Record{Topic: schemas.CartDLQ, Key: parked.Key, Value: schemas.EncodeBookChanged(parked.Value), Timestamp: parked.Timestamp}
	for _, h := range [][2]string{
		{runner.HeaderTopic, schemas.BookEvents}, {runner.HeaderPartition, "0"}, {runner.HeaderOffset, "42"}, {runner.HeaderGroup, "booksync"},
		{runner.HeaderAttempts, "1"}, {runner.HeaderMessage, "no good"}, {runner.HeaderID, "a1"}, {runner.HeaderClass, runner.ClassRejected},
		{runner.HeaderFirstFailed, "2026-11-22T10:00:00.000Z"},
	} {
		letter.Headers = append(letter.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	b.catalogue.away = errors.New("no primary")
	var failed *runner.Failed
	if err := r.Replay(t.Context(), letter); err == nil || errors.As(err, &failed) {
		t.Errorf("while the catalogue is away: %v", err)
	}
	b.catalogue.away = nil
	must(t, r.Replay(t.Context(), letter))
	if n := b.knows("b1", 4); n != 2 {
		t.Errorf("%d shards know version 4", n)
	}
}
