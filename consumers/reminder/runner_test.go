package reminder_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/consumers/reminder"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// With mails that break the connection before and after the relay has them, a refused address and a record that is no
// reminder, all the others get theirs, those behind them too.
func TestABrokenMailStopsNobodyElses(t *testing.T) {
	const partitions = 4
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, schemas.CartReminders, schemas.CartDLQ))
	must(t, err)
	t.Cleanup(kafka.Close)
	brokers := kgo.SeedBrokers(kafka.ListenAddrs()...)
	b := setup(t, newRelay(t, rules{}))
	unknown := says(550, smtp.EnhancedCode{5, 1, 1}, "User unknown")
	broken := rules{
		rcpt: func(to string) error {
			if strings.HasPrefix(to, "unknown") {
				return unknown(to)
			}
			return nil
		},
		drop: func(to string) bool { return strings.HasPrefix(to, "dropped") },
		cut:  func(to string) bool { return strings.HasPrefix(to, "cut") },
	}
	b.relay.now(broken)

	records := []*kgo.Record{
		recordOf(b.idle("dropped", 3), 0), recordOf(b.idle("cut", 3), 0), recordOf(b.idle("behind", 3), 0),
		recordOf(b.idle("unknown", 3), 1), recordOf(b.idle("after", 3), 1),
		{Topic: schemas.CartReminders, Partition: 2, Key: []byte("garbled"), Value: []byte(`{"userId":`)}, recordOf(b.idle("then", 3), 2),
	}
	want := map[string]bool{"behind@example.com": true, "after@example.com": true, "then@example.com": true}
	for n := range 10 {
		user := fmt.Sprint("u", n)
		want[user+"@example.com"] = true
		records = append(records, recordOf(b.idle(user, 3), int32(n%partitions)))
	}
	producer, err := kgo.NewClient(brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	must(t, err)
	t.Cleanup(producer.Close)
	must(t, producer.ProduceSync(t.Context(), records...).FirstErr())

	registry := prometheus.NewRegistry()
	r, err := runner.New(runner.Config{Kafka: []kgo.Opt{brokers}, DeadLetters: schemas.CartDLQ, Registerer: registry,
		Logger: slog.New(slog.NewTextHandler(b.log, nil))}, reminder.Consumer(b.mailer))
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		must(t, <-ended)
	})

	await(t, "everybody else's are there", func() bool {
		got := map[string]bool{}
		for _, m := range b.relay.took() {
			got[m.to] = true
		}
		return maps.Equal(got, want)
	})
	letters := dead(t, brokers, 2)
	if letters["unknown"] != runner.ClassRejected || letters["garbled"] != runner.ClassUndecodable {
		t.Errorf("dead letters %v", letters)
	}

	t.Run("and those whose connections broke, once they don't any more", func(t *testing.T) {
		b.relay.now(rules{})
		b.later(t, b.mailer)
		await(t, "all have one", func() bool { return len(b.relay.took()) == len(want)+2 })
	})
	b.hides(t)
}

// A full mailbox costs nobody else of its partition a moment; after its last attempt its reminder is parked, and can be
// replayed like any other.
func TestAFullMailboxHoldsNobodyUpAndEndsOneDay(t *testing.T) {
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, schemas.CartReminders, schemas.CartDLQ))
	must(t, err)
	t.Cleanup(kafka.Close)
	brokers := kgo.SeedBrokers(kafka.ListenAddrs()...)
	full := says(452, smtp.EnhancedCode{4, 2, 2}, "Mailbox full")
	b := setup(t, newRelay(t, rules{rcpt: func(to string) error {
		if strings.HasPrefix(to, "full") {
			return full(to)
		}
		return nil
	}}))
	producer, err := kgo.NewClient(brokers)
	must(t, err)
	t.Cleanup(producer.Close)
	records := []*kgo.Record{recordOf(b.idle("before", 3), 0), recordOf(b.idle("full", 3), 0), recordOf(b.idle("behind", 3), 0)}
	must(t, producer.ProduceSync(t.Context(), records...).FirstErr())

	r, err := runner.New(runner.Config{Kafka: []kgo.Opt{brokers}, DeadLetters: schemas.CartDLQ, Logger: slog.New(slog.NewTextHandler(b.log, nil))},
		reminder.Consumer(b.mailer))
	must(t, err)
	b.mailer.ParkWith(r)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		must(t, <-ended)
	})
	await(t, "the others have theirs", func() bool { return len(b.relay.took()) == 2 })
	await(t, "all offsets are committed", func() bool {
		offsets, err := kadm.NewClient(producer).FetchOffsets(t.Context(), reminder.Group)
		if err != nil {
			return false
		}
		at, _ := offsets.Lookup(schemas.CartReminders, 0)
		return at.At == 3
	})
	waiting := b.db.Collection(reminder.Deferrals)
	if n, err := waiting.CountDocuments(t.Context(), bson.M{"_id": "full"}); err != nil || n != 1 {
		t.Fatalf("%d wait, %v", n, err)
	}

	_, err = waiting.UpdateMany(t.Context(), bson.M{}, bson.M{"$set": bson.M{"attempts": int64(9)}}) // two days later
	must(t, err)
	b.later(t, b.mailer)
	await(t, "nothing waits any more", func() bool {
		n, err := waiting.CountDocuments(t.Context(), bson.M{})
		return err == nil && n == 0
	})
	letter := read(t, brokers)
	l, err := runner.ReadLetter(letter)
	must(t, err)
	if l.Class != runner.ClassExhausted || l.Attempts != 10 || l.Group != reminder.Group || l.Record.Offset != 1 || l.Record.Partition != 0 ||
		l.Record.Topic != schemas.CartReminders || string(l.Record.Value) != string(records[1].Value) || !strings.Contains(l.Message, "452 4.2.2") {
		t.Errorf("letter %+v of %+v", l, l.Record)
	}
	b.hides(t, errors.New(l.Message))

	t.Run("replayed, it is deferred, or sent, like the first time", func(t *testing.T) {
		must(t, r.Replay(t.Context(), letter))
		var d struct {
			Letter string
			Before int64
		}
		must(t, waiting.FindOne(t.Context(), bson.M{"_id": "full"}).Decode(&d))
		if d.Letter != l.ID || d.Before != 10 {
			t.Errorf("it is the letter %+v", d)
		}
		_, err := waiting.DeleteMany(t.Context(), bson.M{})
		must(t, err)
		b.relay.now(rules{})
		must(t, r.Replay(t.Context(), letter))
		if mails := b.relay.took(); len(mails) != 3 || mails[2].to != "full@example.com" {
			t.Errorf("%d mails", len(mails))
		}
	})
}

// read returns the only dead letter.
func read(t *testing.T, brokers kgo.Opt) *kgo.Record {
	t.Helper()
	reader, err := kgo.NewClient(brokers, kgo.ConsumeTopics(schemas.CartDLQ), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	must(t, err)
	defer reader.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		fetches := reader.PollFetches(ctx)
		must(t, fetches.Err())
		if letters := fetches.Records(); len(letters) > 0 {
			return letters[0]
		}
	}
}

func recordOf(r schemas.Reminder, partition int32) *kgo.Record {
	return &kgo.Record{Topic: schemas.CartReminders, Partition: partition, Key: []byte(r.UserID), Value: schemas.EncodeReminder(r)}
}

// dead returns the classes of n dead letters by key, and fails the test where one tells an address.
func dead(t *testing.T, brokers kgo.Opt, n int) map[string]string {
	t.Helper()
	reader, err := kgo.NewClient(brokers, kgo.ConsumeTopics(schemas.CartDLQ), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	must(t, err)
	defer reader.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	classes := map[string]string{}
	for len(classes) < n {
		fetches := reader.PollFetches(ctx)
		must(t, fetches.Err())
		fetches.EachRecord(func(letter *kgo.Record) {
			for _, header := range letter.Headers {
				if header.Key == runner.HeaderClass {
					classes[string(letter.Key)] = string(header.Value)
				}
				if strings.Contains(string(header.Value), "example.com") {
					t.Errorf("a letter tells an address: %s", header.Value)
				}
			}
		})
	}
	return classes
}

func await(t *testing.T, claim string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never became true that %s", claim)
		}
	}
}
