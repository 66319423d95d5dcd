package runner

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// handleTimeout bounds one call of Handle or Heal.
const handleTimeout = 30 * time.Second

// process brings a batch to its end: everything in it is done or given up. An error means that neither is so for some
// record, and the batch must come again.
type process func(ctx context.Context, batch []*kgo.Record, wait pacing) (result, error)

// result is what a batch came to: records to produce (transactional consumers only), and those given up.
type result struct {
	produce []*kgo.Record
	dead    []failure
	held    []*kgo.Record // see Record.Hold
}

// pacing is how a batch waits between tries. An error ends the batch.
type pacing struct {
	// down is called after the try-th failure in a row, from 1, that says nothing about a record.
	down func(try int, err error) error
	// refused is called before a refused record's next attempt, the try-th failure behind it.
	refused func(try int) error
}

// handler is a consumer's Decode and Handle, and the rules by which they are called.
type handler[T any] struct {
	log     *slog.Logger
	retries prometheus.Counter
	decode  func([]byte) (T, error)
	nulls   bool
	handle  func(context.Context, []Record[T]) ([]*kgo.Record, error)
}

// process tries the batch as one; where its error concerns a record, record by record.
func (h handler[T]) process(ctx context.Context, records []*kgo.Record, wait pacing) (result, error) {
	var res result
	batch := h.decodeAll(records, &res)
	if len(batch) == 0 {
		return res, nil
	}
	for try := 1; ; try++ {
		out, err := h.call(ctx, batch)
		switch judge(err) {
		case done:
			res.produce = out
			res.held = heldOf(batch)
			return res, nil
		case refused, rejected:
			return h.singly(ctx, batch, res, wait)
		}
		h.retries.Inc()
		if err := wait.down(try, err); err != nil {
			return result{}, err
		}
	}
}

func (h handler[T]) decodeAll(records []*kgo.Record, res *result) []Record[T] {
	batch := make([]Record[T], 0, len(records))
	for _, rec := range records {
		value, err := h.decodeOne(rec)
		if err != nil {
			res.dead = append(res.dead, failure{record: rec, class: ClassUndecodable, err: err, attempts: 1, first: time.Now()})
			continue
		}
		batch = append(batch, Record[T]{rec, value, new(bool)})
	}
	return batch
}

func (h handler[T]) decodeOne(rec *kgo.Record) (value T, err error) {
	if rec.Value == nil && !h.nulls {
		return value, errNull
	}
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	return h.decode(rec.Value)
}

// try is a record's way through singly.
type try[T any] struct {
	record   Record[T]
	attempts int
	first    time.Time
}

func (t *try[T]) failure(class string, err error, attempts int) failure {
	return failure{record: t.record.Record, class: class, err: err, attempts: attempts, first: t.first}
}

// singly handles one record after the other, in rounds. A refused record waits for the next round, and with it all later
// ones of its key; those of other keys go on.
func (h handler[T]) singly(ctx context.Context, batch []Record[T], res result, wait pacing) (result, error) {
	pending := make([]*try[T], len(batch))
	for i, rec := range batch {
		pending[i] = &try[T]{record: rec}
	}
	for {
		var next []*try[T]
		held := map[string]bool{}
		for _, t := range pending {
			if held[string(t.record.Key)] {
				next = append(next, t)
				continue
			}
			again, err := h.attempt(ctx, t, &res, wait)
			if err != nil {
				return result{}, err
			}
			if again {
				held[string(t.record.Key)] = true
				next = append(next, t)
			}
		}
		if len(next) == 0 {
			return res, nil
		}
		pending = next
		if err := wait.refused(fewest(pending)); err != nil {
			return result{}, err
		}
	}
}

// attempt calls Handle with one record until there is an answer about it: done, given up, or again, to be tried later.
func (h handler[T]) attempt(ctx context.Context, t *try[T], res *result, wait pacing) (again bool, err error) {
	for failed := 1; ; failed++ {
		out, err := h.call(ctx, []Record[T]{t.record})
		if err != nil && t.first.IsZero() {
			t.first = time.Now()
		}
		switch judge(err) {
		case done:
			res.produce = append(res.produce, out...)
			res.held = append(res.held, heldOf([]Record[T]{t.record})...)
			return false, nil
		case rejected:
			res.dead = append(res.dead, t.failure(ClassRejected, err, t.attempts+1))
			return false, nil
		case refused:
			h.retries.Inc()
			if t.attempts++; t.attempts < maxAttempts {
				return true, nil
			}
			res.dead = append(res.dead, t.failure(ClassExhausted, err, t.attempts))
			return false, nil
		}
		h.retries.Inc()
		if err := wait.down(failed, err); err != nil {
			return false, err
		}
	}
}

// fewest is the smallest number of attempts, 0 aside, that a pending record has behind it.
func fewest[T any](pending []*try[T]) int {
	n := maxAttempts
	for _, t := range pending {
		if t.attempts > 0 {
			n = min(n, t.attempts)
		}
	}
	return n
}

// call calls Handle, for handleTimeout at most.
func (h handler[T]) call(ctx context.Context, batch []Record[T]) (out []*kgo.Record, err error) {
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			h.log.Error("handle panicked", "panic", p, "topic", batch[0].Topic, "partition", batch[0].Partition,
				"offset", batch[0].Offset, "stack", string(debug.Stack()))
			out, err = nil, panicked(p)
		}
	}()
	for _, r := range batch {
		*r.held = false
	}
	return h.handle(ctx, batch)
}

// heldOf returns the records that Handle held.
func heldOf[T any](batch []Record[T]) []*kgo.Record {
	var held []*kgo.Record
	for _, r := range batch {
		if *r.held {
			held = append(held, r.Record)
		}
	}
	return held
}
