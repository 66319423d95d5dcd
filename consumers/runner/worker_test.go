package runner

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// bench is a worker without Kafka: a handler, a parker, and what was marked.
type bench struct {
	*worker
	begin func()
	park  func(letters []*kgo.Record) error

	mu     sync.Mutex
	events []string
}

func (b *bench) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, fmt.Sprintf(format, args...))
}

func (b *bench) did(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Equal(b.events, want) {
		t.Errorf("events %q, want %q", b.events, want)
	}
}

// Park is the bench's own parker.
func (b *bench) Park(_ context.Context, letters []*kgo.Record) error {
	if b.park != nil {
		if err := b.park(letters); err != nil {
			return err
		}
	}
	b.note("parked %d", len(letters))
	return nil
}

func newBench(t *testing.T, handle func(context.Context, []Record[string]) error) *bench {
	t.Helper()
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{}
	s := &script{}
	h := s.handler()
	if handle != nil {
		h.handle = func(ctx context.Context, batch []Record[string]) ([]*kgo.Record, error) {
			return nil, handle(ctx, batch)
		}
	}
	stopping, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ctx, kill := context.WithCancel(context.WithoutCancel(t.Context()))
	b.worker = &worker{
		place: place{"t", 0},
		parts: parts{
			name: "g", parker: b, letters: "dlq", log: slog.New(slog.DiscardHandler), gate: newGate(), meter: m.of("g"),
		},
		queue: newQueue(10, func(bool) {}), process: h.process,
		mark: func(r *kgo.Record) { b.note("marked %d", r.Offset) },
		stop: stop, kill: kill, done: make(chan struct{}),
	}
	b.begin = func() { go b.run(ctx, stopping) }
	return b
}

// end stops the worker, as a rebalance would, and returns how long that took.
func (b *bench) end() time.Duration {
	began := time.Now()
	(&group{parts: b.parts}).halt([]*worker{b.worker}, stopGrace)
	return time.Since(began)
}

func TestAParkedRecordIsStoredThenHealedThenMarked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.heal = func(_ context.Context, r *kgo.Record) error { b.note("healed %d", r.Offset); return nil }
		b.begin()
		b.queue.push([]*kgo.Record{record(0, "a", "poison"), record(1, "b", "ok"), record(2, "b", "null")})
		b.did(t, "parked 2", "healed 2", "healed 0", "marked 2")
		b.end()
	})
}

func TestALetterThatCanNotBeStoredHoldsThePartition(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		var ids []string
		b.park = func(letters []*kgo.Record) error {
			ids = append(ids, string(letters[0].Headers[6].Value))
			if len(ids) < 20 {
				return errAway
			}
			return nil
		}
		b.begin()
		b.queue.push([]*kgo.Record{record(0, "a", "poison"), record(1, "b", "ok")})
		b.did(t)
		time.Sleep(2 * time.Minute) // of the bubble
		b.did(t, "parked 1", "marked 1")
		if len(slices.Compact(ids)) != 1 {
			t.Errorf("one letter had the ids %q", ids)
		}
		b.end()
	})
}

func TestHealing(t *testing.T) {
	t.Parallel()
	for claim, c := range map[string]struct {
		heal   func(call int) error
		calls  int
		within time.Duration
	}{
		"is tried again for as long as an engine is away": {
			func(call int) error {
				if call < 50 {
					return errAway
				}
				return nil
			}, 50, 5 * time.Minute,
		},
		"is given up where it can never be":        {func(int) error { return Permanent(errAway) }, 1, time.Second},
		"is given up when it is refused ten times": {func(int) error { return Refused(errAway) }, 10, 5 * time.Second},
		"is given up where it panics ten times":    {func(int) error { panic("nil map") }, 10, 5 * time.Second},
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, nil)
				calls := 0
				b.heal = func(context.Context, *kgo.Record) error { calls++; return c.heal(calls) }
				b.begin()
				b.queue.push([]*kgo.Record{record(0, "a", "poison")})
				time.Sleep(c.within)
				b.did(t, "parked 1", "marked 0")
				if calls != c.calls {
					t.Errorf("healed %d times, want %d", calls, c.calls)
				}
				b.end()
			})
		})
	}
}

func TestAWorkerThatIsStopped(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context, _ []Record[string]) error { <-ctx.Done(); return ctx.Err() }
	for claim, c := range map[string]struct {
		handle func(context.Context, []Record[string]) error
		parker error
		push   []*kgo.Record
		before time.Duration
		takes  time.Duration // at most
		least  time.Duration
		events []string
	}{
		"finishes and marks the batch in hand, and begins no other": {
			handle: func(context.Context, []Record[string]) error { time.Sleep(3 * time.Second); return nil },
			push:   sized(15, 1), before: time.Second, least: 2 * time.Second, takes: 2 * time.Second,
			events: []string{"marked 9"},
		},
		"does not wait for its next try": {
			handle: func(context.Context, []Record[string]) error { return errAway },
			push:   sized(1, 1), before: time.Minute,
		},
		"does not wait for a refused record's next try": {
			handle: func(context.Context, []Record[string]) error { return Refused(errAway) },
			push:   sized(1, 1),
		},
		"does not wait for a letter that can't be stored": {
			handle: func(context.Context, []Record[string]) error { return Permanent(errAway) }, parker: errAway,
			push: sized(1, 1), before: time.Minute,
		},
		"ends the ctx of Handle after 5 s, and marks nothing": {
			handle: hang, push: sized(1, 1), before: time.Second, least: 5 * time.Second, takes: 5 * time.Second,
		},
		"leaves a Handle behind that ignores it, and takes no notice of its outcome": {
			handle: func(context.Context, []Record[string]) error { time.Sleep(20 * time.Second); return nil },
			push:   sized(1, 1), before: time.Second, least: 8 * time.Second, takes: 8 * time.Second,
		},
		"is gone at once when it has nothing to do": {},
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, c.handle)
				b.park = func([]*kgo.Record) error { return c.parker }
				b.begin()
				b.queue.push(c.push)
				time.Sleep(c.before)
				if took := b.end(); took > c.takes || took < c.least {
					t.Errorf("took %s", took)
				}
				time.Sleep(time.Minute) // what was left behind ends, and must leave no trace
				b.did(t, c.events...)
			})
		})
	}
}

func TestHandleIsEndedAfterHalfAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var took []time.Duration
		b := newBench(t, func(ctx context.Context, _ []Record[string]) error {
			began := time.Now()
			<-ctx.Done()
			took = append(took, time.Since(began))
			if len(took) == 2 {
				return nil
			}
			return ctx.Err()
		})
		b.begin()
		b.queue.push(sized(1, 1))
		time.Sleep(2 * time.Minute)
		b.did(t, "marked 0")
		if !slices.Equal(took, []time.Duration{30 * time.Second, 30 * time.Second}) {
			t.Errorf("calls took %v", took)
		}
		b.end()
	})
}

func TestAPausedConsumerBeginsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.begin()
		b.gate.pause()
		b.gate.pause()
		b.queue.push([]*kgo.Record{record(0, "a", "ok")})
		time.Sleep(time.Hour)
		b.did(t)
		b.gate.resume()
		b.gate.resume()
		b.did(t, "marked 0")
		b.gate.pause()
		if took := b.end(); took > 0 {
			t.Errorf("a paused worker took %s to stop", took)
		}
	})
}

func TestConcurrencyBoundsTheBatchesInHandButNotThoseThatWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		g.limit(2)
		var mu sync.Mutex
		now, most := 0, 0
		handle := func(context.Context, []Record[string]) error {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			defer mu.Unlock()
			now--
			return nil
		}
		away := func(context.Context, []Record[string]) error { return errAway }
		var benches []*bench
		for i := range 8 {
			h := handle
			if i < 3 { // more than the limit
				h = away
			}
			b := newBench(t, h)
			b.gate = g
			b.begin()
			b.queue.push([]*kgo.Record{record(0, "a", "ok")})
			benches = append(benches, b)
		}
		time.Sleep(time.Minute)
		for i, b := range benches {
			if i < 3 {
				b.did(t)
			} else {
				b.did(t, "marked 0")
			}
			b.end()
		}
		if most != 2 {
			t.Errorf("%d batches at once", most)
		}
	})
}
