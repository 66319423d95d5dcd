package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

var errAway = errors.New("connection refused")

// record is one of partition 0 whose value says how it fares: "ok", or what script makes of it.
func record(offset int64, key, value string) *kgo.Record {
	r := &kgo.Record{Topic: "t", Key: []byte(key), Offset: offset, Value: []byte(value), Timestamp: time.Now()}
	if value == "null" {
		r.Value = nil
	}
	return r
}

// script is a Handle whose outcome is written in the values; log is what it did, in order.
type script struct{ log []string }

func (s *script) decode(b []byte) (string, error) {
	switch string(b) {
	case "garbled":
		return "", errors.New("no JSON")
	case "panics in decode":
		panic("index out of range")
	}
	return string(b), nil
}

func (s *script) handle(_ context.Context, batch []Record[string]) ([]*kgo.Record, error) {
	for _, r := range batch {
		switch value := r.Value; value {
		case "poison":
			return nil, fmt.Errorf("apply: %w", Permanent(errors.New("rejected")))
		case "panics":
			panic("nil map")
		case "refused":
			s.note(batch, "refused")
			return nil, Refused(errors.New("document too large"))
		default:
			if s.refusals(value, r.Offset) {
				s.note(batch, "refused")
				return nil, Refused(errors.New("conflict"))
			}
		}
	}
	s.note(batch, "done")
	return nil, nil
}

// refusals reports whether a value "refused N times" is still refused on its own.
func (s *script) refusals(value string, offset int64) bool {
	var n int
	if _, err := fmt.Sscanf(value, "refused %d times", &n); err != nil {
		return false
	}
	return strings.Count(strings.Join(s.log, ","), fmt.Sprintf("refused [%d]", offset)) < n
}

func (s *script) note(batch []Record[string], what string) {
	offsets := make([]int64, len(batch))
	for i, r := range batch {
		offsets[i] = r.Offset
	}
	s.log = append(s.log, fmt.Sprint(what, " ", offsets))
}

func (s *script) handler() handler[string] {
	return handler[string]{
		log: slog.New(slog.DiscardHandler), retries: prometheus.NewCounter(prometheus.CounterOpts{Name: "retries"}),
		decode: s.decode, handle: s.handle,
	}
}

// asleep waits as a worker does that nobody stops.
var asleep = pacing{
	down:    func(try int, _ error) error { return sleep(context.Background(), backoff(downFirst, downLast, try)) },
	refused: func(try int) error { return sleep(context.Background(), backoff(refusedFirst, refusedLast, try)) },
}

func TestHandler(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		batch []*kgo.Record
		log   []string
		dead  []string
	}{
		"a batch without trouble is handled once": {
			batch: []*kgo.Record{record(0, "a", "ok"), record(1, "b", "ok")},
			log:   []string{"done [0 1]"},
		},
		"only the poison of a batch is given up": {
			batch: []*kgo.Record{record(0, "a", "ok"), record(1, "b", "poison"), record(2, "c", "ok")},
			log:   []string{"done [0]", "done [2]"},
			dead:  []string{"1 rejected 1 apply: rejected"},
		},
		"what can't be decoded never reaches Handle": {
			batch: []*kgo.Record{record(0, "a", "garbled"), record(1, "a", "ok"), record(2, "b", "null")},
			log:   []string{"done [1]"},
			dead:  []string{"0 undecodable 1 no JSON", "2 undecodable 1 the value is null"},
		},
		"a panic of Decode is an undecodable record": {
			batch: []*kgo.Record{record(0, "a", "panics in decode"), record(1, "b", "ok")},
			log:   []string{"done [1]"},
			dead:  []string{"0 undecodable 1 panic: index out of range"},
		},
		"a batch in which nothing can be decoded is done": {
			batch: []*kgo.Record{record(0, "a", "null")},
			dead:  []string{"0 undecodable 1 the value is null"},
		},
		"a record refused ten times is exhausted, and the others are done before its second attempt": {
			batch: []*kgo.Record{record(0, "a", "refused"), record(1, "b", "ok")},
			log:   append([]string{"refused [0 1]", "refused [0]", "done [1]"}, repeat("refused [0]", 9)...),
			dead:  []string{"0 exhausted 10 document too large"},
		},
		"later records of a refused key wait for it": {
			batch: []*kgo.Record{record(0, "a", "refused 2 times"), record(1, "a", "ok"), record(2, "b", "ok")},
			log:   []string{"refused [0 1 2]", "refused [0]", "done [2]", "refused [0]", "done [0]", "done [1]"},
		},
		"a record that is accepted at last is not given up": {
			batch: []*kgo.Record{record(0, "a", "refused 9 times")},
			log:   append(repeat("refused [0]", 9), "done [0]"),
		},
		"a panic of Handle counts as a refusal": {
			batch: []*kgo.Record{record(0, "a", "panics"), record(1, "b", "ok")},
			log:   []string{"done [1]"},
			dead:  []string{"0 exhausted 10 panic: nil map"},
		},
	}
	for claim, c := range cases {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{}
				res, err := s.handler().process(t.Context(), c.batch, asleep)
				if err != nil {
					t.Fatal(err)
				}
				var dead []string
				for _, f := range res.dead {
					dead = append(dead, fmt.Sprint(f.record.Offset, " ", f.class, " ", f.attempts, " ", f.err))
				}
				if !reflect.DeepEqual(s.log, c.log) {
					t.Errorf("handled %q, want %q", s.log, c.log)
				}
				if !reflect.DeepEqual(dead, c.dead) {
					t.Errorf("gave up %q, want %q", dead, c.dead)
				}
			})
		})
	}
}

func repeat(s string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = s
	}
	return out
}

func TestTenAttemptsTakeFiveSecondsAtMost(t *testing.T) {
	t.Parallel()
	for range 100 { // the waits are random
		synctest.Test(t, func(t *testing.T) {
			s := &script{}
			began := time.Now()
			res, err := s.handler().process(t.Context(), []*kgo.Record{record(0, "a", "refused")}, asleep)
			if err != nil || len(res.dead) != 1 {
				t.Fatalf("gave up %v, error %v", res.dead, err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("ten attempts took %s", took)
			}
			if since := time.Since(res.dead[0].first); since > time.Since(began) || since <= 0 {
				t.Errorf("it first failed %s ago", since)
			}
		})
	}
}

func TestAnOutageOfAnHourGivesNothingUp(t *testing.T) {
	t.Parallel()
	for name, values := range map[string][]string{
		"of a whole batch":                  {"ok", "ok"},
		"while a batch is tried one by one": {"ok", "refused 3 times"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{}
				h := s.handler()
				back := time.Now().Add(time.Hour)
				calls, longest, last := 0, time.Duration(0), time.Now()
				inner := h.handle
				h.handle = func(ctx context.Context, batch []Record[string]) ([]*kgo.Record, error) {
					calls++
					longest, last = max(longest, time.Since(last)), time.Now()
					if len(s.log) > 0 && time.Now().Before(back) || values[1] == "ok" && time.Now().Before(back) {
						return nil, errAway
					}
					return inner(ctx, batch)
				}
				var batch []*kgo.Record
				for i, v := range values {
					batch = append(batch, record(int64(i), fmt.Sprint(i), v))
				}
				res, err := h.process(t.Context(), batch, asleep)
				if err != nil || len(res.dead) > 0 {
					t.Fatalf("gave up %v, error %v", res.dead, err)
				}
				if late := time.Since(back); late < 0 || late > 10*time.Second {
					t.Errorf("ended %s after the outage", late)
				}
				if longest > 5*time.Second {
					t.Errorf("waited %s between two tries, more than the cap", longest)
				}
				if calls < 3600/5 || calls > 3600 {
					t.Errorf("made %d calls in an hour", calls)
				}
			})
		})
	}
}

func TestTheEndOfPatienceIsNoOutcome(t *testing.T) {
	t.Parallel()
	s := &script{}
	h := s.handler()
	h.handle = func(context.Context, []Record[string]) ([]*kgo.Record, error) { return nil, errAway }
	told := errors.New("stopping")
	res, err := h.process(t.Context(), []*kgo.Record{record(0, "a", "null"), record(1, "a", "ok")},
		pacing{down: func(int, error) error { return told }})
	if !errors.Is(err, told) || len(res.dead) > 0 {
		t.Errorf("result %v, error %v", res, err)
	}
}

// Whatever happens to whom, each record ends as done or given up, and those of a key do so in order.
func TestEachRecordEndsOnceAndInTheOrderOfItsKey(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			kinds := []string{"ok", "ok", "ok", "refused", "refused 1 times", "refused 4 times", "poison", "garbled", "null"}
			var batch []*kgo.Record
			for i := range 30 {
				batch = append(batch, record(int64(i), fmt.Sprint(random.IntN(4)), kinds[random.IntN(len(kinds))]))
			}
			s := &script{}
			h := s.handler()
			var ends []int64
			inner := h.handle
			h.handle = func(ctx context.Context, b []Record[string]) ([]*kgo.Record, error) {
				if random.IntN(5) == 0 {
					return nil, errAway
				}
				out, err := inner(ctx, b)
				if err == nil {
					for _, r := range b {
						ends = append(ends, r.Offset)
					}
				}
				return out, err
			}
			res, err := h.process(t.Context(), batch, asleep)
			if err != nil {
				t.Fatal(err)
			}
			last := map[string]int64{}
			for _, offset := range ends {
				key := string(batch[offset].Key)
				if before, ok := last[key]; ok && before >= offset {
					t.Errorf("seed %d: %d of key %s was done after %d", seed, offset, key, before)
				}
				last[key] = offset
			}
			for _, f := range res.dead {
				ends = append(ends, f.record.Offset)
			}
			count := map[int64]int{}
			for _, offset := range ends {
				count[offset]++
			}
			for _, r := range batch {
				if count[r.Offset] != 1 {
					t.Errorf("seed %d: %q ended %d times", seed, r.Value, count[r.Offset])
				}
			}
		})
	}
}
