package book_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/api/book"
	"cartstream/schemas"
	"cartstream/schemas/env"
)

func TestAChangeIsInKafkaWithItsHeaders(t *testing.T) {
	b := setup(t)
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	_, err := b.store.Create(t.Context(), book.Request{TraceParent: trace}, "emma", emma)
	must(t, err)
	equal(t, "the number of records", b.kafka.count(), 1)
	r := b.kafka.all()[0]
	equal(t, "the topic", r.Topic, schemas.BookEvents)
	equal(t, "the key", string(r.Key), "emma")
	at := schemas.At(time.Now()).String()[:10]
	event := b.kafka.events(t)[0]
	equal(t, "the day of the event", event.OccurredAt.String()[:10], at)
	event.OccurredAt = schemas.Time{}
	equal(t, "the event", event, schemas.BookChanged{
		BookID: "emma", Version: 1, Type: schemas.BookCreated, Title: "Emma", Author: "Jane Austen", UnitPrice: 1299,
		Currency: "EUR", Stock: 7, Status: schemas.Available,
	})
	headers := map[string]string{}
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	for name, want := range map[string]string{
		"ce_specversion": "1.0", "ce_id": "emma:1", "ce_type": "book.created", "ce_subject": "emma", "traceparent": trace,
	} {
		equal(t, name, headers[name], want)
	}
}

func TestAnAcknowledgedEventClearsTheMark(t *testing.T) {
	b := setup(t)
	b.run(b.store)
	b.create("emma", emma)
	b.awaitPublished("emma")
	must(t, b.store.Delete(t.Context(), book.Request{}, "emma"))
	b.awaitPublished("emma")
	equal(t, "the version", b.stored("emma")["version"], any(int64(2)))
}

func TestAnEventClearsTheMarkOfItsOwnVersionOnly(t *testing.T) {
	b := setup(t)
	b.kafka.set(false, true)
	b.create("emma", emma) // its event waits in the producer
	b.kafka.set(true, false)
	_, err := b.store.Put(t.Context(), book.Request{}, "emma", emmaFor(1)) // its event is refused
	must(t, err)
	b.run(b.store)
	b.kafka.answer(nil) // Kafka has version 1 now
	await(t, "Run has looked a few times", func() bool { return b.refusals() > 3 })
	equal(t, "the mark", b.stored("emma")["unpublished"], any(int64(2)))
	b.kafka.set(false, false)
	b.awaitPublished("emma")
	events := b.kafka.events(t)
	equal(t, "the newest event's version", events[len(events)-1].Version, 2)
}

func TestWhileKafkaIsAway(t *testing.T) {
	for claim, freeze := range map[string]bool{"refusing": false, "frozen": true} {
		t.Run(claim, func(t *testing.T) {
			b := setup(t)
			b.run(b.store)
			b.kafka.set(!freeze, freeze)
			began := time.Now()
			for i := range 20 {
				b.create(fmt.Sprintf("b%d", i), emma)
			}
			for i := range int64(3) {
				_, err := b.store.Put(t.Context(), book.Request{}, "b0", emmaFor(i))
				must(t, err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("23 changes took %v", took)
			}
			equal(t, "the mark", b.stored("b0")["unpublished"], any(int64(4)))

			b.kafka.set(false, false)
			b.kafka.answer(errors.New("timed out"))
			for i := range 20 {
				b.awaitPublished(fmt.Sprintf("b%d", i))
			}
			newest := map[string]schemas.BookChanged{}
			for _, e := range b.kafka.events(t) {
				if e.Version >= newest[e.BookID].Version {
					newest[e.BookID] = e
				}
			}
			equal(t, "the number of books in Kafka", len(newest), 20)
			equal(t, "the newest price of b0", newest["b0"].UnitPrice, 2)
		})
	}
}

func TestASlowKafkaIsNotGivenTheSameEventAgainAndAgain(t *testing.T) {
	b := setup(t)
	b.kafka.set(false, true)
	b.create("emma", emma)
	b.run(b.store)
	other := b.instance(b.kafka) // which finds emma at its first look
	b.run(other)
	await(t, "the other instance tried too", func() bool { return b.kafka.count() == 2 })
	b.create("persuasion", emma)
	await(t, "each tried that one too", func() bool { return b.kafka.count() == 4 })
	b.kafka.set(false, false)
	b.kafka.answer(nil)
	b.awaitPublished("emma")
	b.awaitPublished("persuasion")
	equal(t, "the number of records", b.kafka.count(), 4)
}

func TestAfterACrash(t *testing.T) {
	type record struct{ value, headers string }
	contents := func(r *kgo.Record) record { return record{string(r.Value), fmt.Sprintf("%s", r.Headers)} }
	for claim, test := range map[string]struct {
		before func(*kafka) // what the crashed instance's Kafka did
		want   int          // how often the event is in Kafka
	}{
		"before the event was handed over it is published":     {func(k *kafka) { k.set(true, false) }, 1},
		"before the mark was cleared it is repeated as it was": {func(*kafka) {}, 2},
	} {
		t.Run(claim, func(t *testing.T) {
			b := setup(t)
			test.before(b.kafka)
			b.create("emma", emma)
			// The instance is gone: it never ran again. Another one starts.
			b.kafka.set(false, false)
			b.run(b.instance(b.kafka))
			b.awaitPublished("emma")
			equal(t, "the number of records", b.kafka.count(), test.want)
			for _, r := range b.kafka.all() {
				equal(t, "a repeat", contents(r), contents(b.kafka.all()[0]))
			}
		})
	}
}

func TestEachVersionHasOneContentWhoeverPublishesIt(t *testing.T) {
	b := setup(t)
	b.create("emma", emma)
	stores := []*book.Store{b.store, b.instance(b.kafka), b.instance(b.kafka)}
	for _, s := range stores {
		b.run(s)
	}
	var all sync.WaitGroup
	for i, s := range stores {
		all.Go(func() {
			for n := range int64(8) {
				b.kafka.set(n%3 == int64(i), n%4 == int64(i))
				b.kafka.answer(errors.New("timed out"))
				_, err := s.Put(t.Context(), book.Request{}, "emma", emmaFor(int64(i)*100+n))
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	b.kafka.set(false, false)
	b.kafka.answer(nil)
	b.awaitPublished("emma")
	last := b.stored("emma")
	contents, newest := map[int64]string{}, int64(0)
	for _, r := range b.kafka.all() {
		e, err := schemas.DecodeBookChanged(r.Value)
		must(t, err)
		got := fmt.Sprintf("%s %s", r.Value, r.Headers)
		if was, ok := contents[e.Version]; ok && was != got {
			t.Errorf("version %d is both\n%s\nand\n%s", e.Version, was, got)
		}
		contents[e.Version], newest = got, max(newest, e.Version)
	}
	equal(t, "the newest version in Kafka", any(newest), last["version"])
}

func TestStoppingWaitsForWhatKafkaAcknowledgesLast(t *testing.T) {
	b := setup(t)
	stop := b.run(b.store)
	b.kafka.set(false, true)
	b.create("emma", emma)
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	b.kafka.answer(nil)
	<-stopped
	equal(t, "the mark", b.stored("emma")["unpublished"], any(int64(0)))
}

func TestOnKafkaEveryBookLandsInThePartitionOfItsKey(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, schemas.BookEvents))
	must(t, err)
	t.Cleanup(cluster.Close)
	cfg := env.Kafka{Brokers: cluster.ListenAddrs(), Partitions: 4, Replication: 1}
	client, err := book.NewProducer(cfg)
	must(t, err)
	t.Cleanup(client.Close)

	b := setup(t)
	store := b.instance(client)
	b.run(store)
	var ids []string
	for i := range 12 {
		id := fmt.Sprintf("b%d", i)
		_, err := store.Create(t.Context(), book.Request{}, id, emma)
		must(t, err)
		ids = append(ids, id)
	}
	for _, id := range ids {
		b.awaitPublished(id)
	}

	reader, err := kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...), kgo.ConsumeTopics(schemas.BookEvents))
	must(t, err)
	defer reader.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []string
	for len(got) < len(ids) {
		fetches := reader.PollFetches(ctx)
		must(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			got = append(got, string(r.Key))
			equal(t, "the partition of "+string(r.Key), int(r.Partition), schemas.Partition(string(r.Key), 4))
		})
	}
	slices.Sort(got)
	slices.Sort(ids)
	if !slices.Equal(got, ids) {
		t.Errorf("Kafka has %v, want %v", got, ids)
	}
}

func TestEventsReachAKafkaThatComesLate(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1)) // the topic is missing
	must(t, err)
	t.Cleanup(cluster.Close)
	cfg := env.Kafka{Brokers: cluster.ListenAddrs(), Partitions: 4, Replication: 1}
	client, err := book.NewProducer(cfg, kgo.UnknownTopicRetries(0))
	must(t, err)
	t.Cleanup(client.Close)

	b := setup(t)
	store := b.instance(client)
	b.run(store)
	_, err = store.Create(t.Context(), book.Request{}, "emma", emma)
	must(t, err)
	equal(t, "the mark", b.stored("emma")["unpublished"], any(int64(1)))
	await(t, "the topic is there", func() bool { return cfg.EnsureTopics(t.Context(), client.Client()) == nil })
	b.awaitPublished("emma")
}

func TestEventsReachATopicThatWasMadeAnew(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	must(t, err)
	t.Cleanup(cluster.Close)
	cfg := env.Kafka{Brokers: cluster.ListenAddrs(), Partitions: 4, Replication: 1}
	admin, err := kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...))
	must(t, err)
	t.Cleanup(admin.Close)
	must(t, cfg.EnsureTopics(t.Context(), admin))
	client, err := book.NewProducer(cfg)
	must(t, err)
	t.Cleanup(client.Close)
	b := setup(t)
	store := b.instance(client)
	b.run(store)
	_, err = store.Create(t.Context(), book.Request{}, "emma", emma)
	must(t, err)
	b.awaitPublished("emma")

	_, err = kadm.NewClient(admin).DeleteTopic(t.Context(), schemas.BookEvents)
	must(t, err)
	must(t, cfg.EnsureTopics(t.Context(), admin))
	_, err = store.Create(t.Context(), book.Request{}, "sense", emma)
	must(t, err)
	b.awaitPublished("sense")
	var written int64
	for _, p := range cluster.PartitionInfos(schemas.BookEvents) {
		written += p.HighWatermark
	}
	equal(t, "records in the new topic", written, 1)
}

func TestTheMetricsTellWhatWaits(t *testing.T) {
	b := setup(t)
	registry := prometheus.NewRegistry()
	store := book.Open(book.Options{
		Database: b.db, Producer: b.kafka, Currency: "EUR", Logger: slog.New(slog.DiscardHandler), Registerer: registry,
		RepublishEvery: 20 * time.Millisecond,
	})
	waiting := func() float64 {
		families, err := registry.Gather()
		must(t, err)
		for _, f := range families {
			if f.GetName() == "cartstream_books_unpublished" {
				return f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		t.Fatal("no such metric")
		return 0
	}
	b.kafka.set(true, false)
	b.create("emma", emma)
	b.create("persuasion", emma)
	b.run(store)
	await(t, "two books wait", func() bool { return waiting() == 2 })
	b.kafka.set(false, false)
	await(t, "none waits", func() bool { return waiting() == 0 })
}
