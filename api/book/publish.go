package book

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"cartstream/schemas"
)

const (
	republishEvery = 5 * time.Second
	// waiting bounds what is handed to the producer and not yet cleared. What is beyond it stays marked.
	waiting = 5_000
)

// Producer hands records to Kafka without ever waiting, and calls the promise, which returns at once, when Kafka has
// acknowledged the record or won't be tried any more. NewProducer makes one.
type Producer interface {
	TryProduce(ctx context.Context, r *kgo.Record, promise func(*kgo.Record, error))
}

// mark names a version of a book that waits for Kafka.
type mark struct {
	id      string
	version int64
}

// publisher brings every marked book to Kafka, then clears the mark of the version that Kafka has.
type publisher struct {
	books    *mongo.Collection
	producer Producer
	log      *slog.Logger
	metrics  *metrics
	every    time.Duration

	acked chan mark // Kafka has it, MongoDB doesn't know yet

	mu sync.Mutex
	// inFlight is what was handed to the producer and is not cleared yet, so that a slow Kafka isn't given the same
	// event at each look.
	inFlight map[mark]struct{}
	failures int
	failure  error // the last one
}

func newPublisher(o Options, books *mongo.Collection, m *metrics) *publisher {
	if o.RepublishEvery == 0 {
		o.RepublishEvery = republishEvery
	}
	return &publisher{
		books: books, producer: o.Producer, log: o.Logger, metrics: m, every: o.RepublishEvery,
		acked: make(chan mark, waiting), inFlight: map[mark]struct{}{},
	}
}

// publish hands the event of d's version to the producer. It never waits. Whatever becomes of it, the mark in MongoDB
// stays until run clears it.
func (p *publisher) publish(d document) {
	m := mark{d.BookID, d.Version}
	if !p.begin(m) {
		return
	}
	event := d.event()
	record := &kgo.Record{Topic: schemas.BookEvents, Key: []byte(d.BookID), Value: schemas.EncodeBookChanged(event)}
	for _, h := range event.Headers(d.TraceParent) {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.Key, Value: []byte(h.Value)})
	}
	// The record outlives the request.
	p.producer.TryProduce(context.Background(), record, func(_ *kgo.Record, err error) {
		if err != nil {
			p.metrics.failed.Inc()
			p.end(err, m)
			return
		}
		p.metrics.published.Inc()
		p.acked <- m // has room for all that is in flight
	})
}

// begin reports whether the version is to be produced: neither is it already, nor are too many.
func (p *publisher) begin(m mark) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.inFlight[m]; ok || len(p.inFlight) >= waiting {
		return false
	}
	p.inFlight[m] = struct{}{}
	return true
}

func (p *publisher) end(err error, marks ...mark) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range marks {
		delete(p.inFlight, m)
	}
	if err != nil {
		p.failures++
		p.failure = err
	}
}
