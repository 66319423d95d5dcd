package runner

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

// worker does one partition's batches, one after the other, for as long as the partition is this member's.
type worker struct {
	place
	parts
	queue   *queue
	process process
	heal    func(context.Context, *kgo.Record) error
	mark    func(*kgo.Record) // the record and all before it are done

	stop context.CancelFunc // no further batch, no further try
	kill context.CancelFunc // ends the ctx of Handle
	done chan struct{}      // closed at the end of run

	mu   sync.Mutex
	gone bool // nothing may be marked any more
}

// run returns when stopping ends and the batch in hand is done, or can't be done before ctx ends.
func (w *worker) run(ctx, stopping context.Context) {
	defer close(w.done)
	defer w.queue.close()
	for {
		if err := w.gate.enter(stopping); err != nil {
			return
		}
		batch := w.queue.take()
		if batch == nil {
			w.gate.leave()
			select {
			case <-w.queue.arrived:
				continue
			case <-stopping.Done():
				return
			}
		}
		t := &turn{worker: w, stopping: stopping, in: true}
		ok := t.finish(ctx, batch)
		t.leave()
		if !ok {
			return
		}
		w.settle(batch)
	}
}

// settle marks a batch as done, unless the partition was given up meanwhile.
func (w *worker) settle(batch []*kgo.Record) {
	w.mu.Lock()
	if !w.gone {
		w.mark(batch[len(batch)-1])
	}
	w.mu.Unlock()
	w.queue.settle()
	w.meter.batches.Inc()
	w.meter.records.Add(float64(len(batch)))
}

// abandon makes sure that nothing is marked from now on.
func (w *worker) abandon() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = true
}

// turn is a worker's way through one batch, with its slot in the gate.
type turn struct {
	*worker
	stopping context.Context //nolint:containedctx // the batch's own, as long as the turn
	in       bool
}

func (t *turn) leave() {
	if t.in {
		t.in = false
		t.gate.leave()
	}
}

// finish reports whether every record is done, or parked and healed.
func (t *turn) finish(ctx context.Context, batch []*kgo.Record) bool {
	res, err := t.process(ctx, batch, pacing{down: t.down, refused: t.refused})
	if err != nil {
		return false
	}
	if len(res.dead) == 0 {
		return true
	}
	letters := make([]*kgo.Record, len(res.dead))
	for i, f := range res.dead {
		letters[i] = f.letter(t.name, t.letters)
	}
	if !t.insist(func() error { return t.park(ctx, letters) }) {
		return false
	}
	for _, f := range res.dead {
		t.parked(f)
		if t.heal != nil && !t.insist(func() error { return t.mend(ctx, f.record) }) {
			return false
		}
	}
	return true
}

func (t *turn) park(ctx context.Context, letters []*kgo.Record) error {
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	return t.parker.Park(ctx, letters)
}

// mend heals what a parked record would have changed. It returns only what a later try can cure.
func (t *turn) mend(ctx context.Context, rec *kgo.Record) error {
	for attempt := 1; ; attempt++ {
		err := t.healOnce(ctx, rec)
		switch judge(err) {
		case done:
			return nil
		case down:
			return err
		case refused:
			if attempt < maxAttempts {
				if err := t.refused(attempt); err != nil {
					return err
				}
				continue
			}
		case rejected:
		}
		t.log.Error("heal failed", "topic", t.topic, "partition", t.partition, "offset", rec.Offset, "error", err)
		return nil
	}
}

func (t *turn) healOnce(ctx context.Context, rec *kgo.Record) (err error) {
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
	}()
	return t.heal(ctx, rec)
}

// insist calls try until it succeeds. It reports false when the worker must stop first.
func (t *turn) insist(try func() error) bool {
	for failed := 1; ; failed++ {
		err := try()
		if err == nil {
			return true
		}
		if t.down(failed, err) != nil {
			return false
		}
	}
}

// down waits before a batch is tried again. The slot is free meanwhile.
func (t *turn) down(try int, err error) error {
	if t.stopping.Err() != nil {
		return t.stopping.Err()
	}
	if try%10 == 1 {
		t.log.Warn("trying again", "topic", t.topic, "partition", t.partition, "try", try, "error", err)
	}
	return t.wait(backoff(downFirst, downLast, try))
}

func (t *turn) refused(try int) error { return t.wait(backoff(refusedFirst, refusedLast, try)) }

func (t *turn) wait(d time.Duration) error {
	t.leave()
	if err := sleep(t.stopping, d); err != nil {
		return err
	}
	if err := t.gate.enter(t.stopping); err != nil {
		return err
	}
	t.in = true
	return nil
}
