package parking_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/consumers/parking"
)

var errAway = errors.New("away")

// store is a topic, or a place that holds letters, which can be taken away.
type store struct {
	mu     sync.Mutex
	mode   string // "": it works; "away": refuses at once; "silent": never answers
	asked  int
	parked []*kgo.Record
}

func (s *store) set(mode string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = mode
}

func (s *store) answer(ctx context.Context) error {
	s.mu.Lock()
	mode := s.mode
	s.asked++
	s.mu.Unlock()
	switch mode {
	case "away":
		return errAway
	case "silent":
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (s *store) Park(ctx context.Context, letters []*kgo.Record) error {
	if err := s.answer(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parked = append(s.parked, letters...)
	return nil
}

func (s *store) Unwritten(ctx context.Context, skip, limit int) ([]*kgo.Record, error) {
	if err := s.answer(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	from := min(skip, len(s.parked))
	return slices.Clone(s.parked[from:min(from+limit, len(s.parked))]), nil
}

func (s *store) Written(ctx context.Context, letters ...*kgo.Record) error {
	if err := s.answer(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := ids(letters)
	s.parked = slices.DeleteFunc(s.parked, func(l *kgo.Record) bool { return slices.Contains(gone, ids([]*kgo.Record{l})[0]) })
	return nil
}

// has are the ids of what it was given, each once.
func (s *store) has() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := ids(s.parked)
	slices.Sort(found)
	return slices.Compact(found)
}

func (s *store) tries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// lot is a Parker with all its places.
type lot struct {
	topic, mongo, disk store
	*parking.Parker
	reg *prometheus.Registry
}

func newLot() *lot {
	l := &lot{reg: prometheus.NewRegistry()}
	l.Parker = parking.New(&l.topic, slog.New(slog.DiscardHandler), l.reg, parking.Place{Name: "mongodb", Holder: &l.mongo}, parking.Place{Name: "spool", Holder: &l.disk})
	return l
}

func (l *lot) metric(t *testing.T, name, place string) float64 {
	t.Helper()
	families, err := l.reg.Gather()
	must(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == place {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s{%s}", name, place)
	return 0
}

func TestTheFirstPlaceThatTakesALetterHasIt(t *testing.T) {
	for claim, c := range map[string]struct {
		topic, mongo, disk string
		where              string
		within             time.Duration
	}{
		"the topic, where it takes letters":            {"", "", "", "topic", 0},
		"MongoDB, where the topic doesn't":             {"away", "", "", "mongodb", 0},
		"MongoDB, where the topic is silent":           {"silent", "", "", "mongodb", 10 * time.Second},
		"the spool, where neither does":                {"away", "away", "", "spool", 0},
		"the spool, where both are silent":             {"silent", "silent", "", "spool", 15 * time.Second},
		"none, where all are away":                     {"away", "away", "away", "", 0},
		"none, within the time that the runner allows": {"silent", "silent", "silent", "", 20 * time.Second},
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLot()
				l.topic.set(c.topic)
				l.mongo.set(c.mongo)
				l.disk.set(c.disk)
				began := time.Now()
				err := l.Park(t.Context(), letters("a", "b"))
				if took := time.Since(began); took != c.within {
					t.Errorf("it took %v, want %v", took, c.within)
				}
				if (err == nil) != (c.where != "") {
					t.Errorf("error %v", err)
				}
				for place, s := range map[string]*store{"topic": &l.topic, "mongodb": &l.mongo, "spool": &l.disk} {
					if has := len(s.has()) == 2; has != (place == c.where) {
						t.Errorf("%s has %q", place, s.has())
					}
					if place != "topic" {
						if n := l.metric(t, "cartstream_dead_letters_fallback_total", place); (n == 2) != (place == c.where) {
							t.Errorf("%s counts %v", place, n)
						}
					}
				}
			})
		})
	}
}

func TestATopicThatFailedIsNotWaitedForByEachLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLot()
		l.topic.set("silent")
		must(t, l.Park(t.Context(), letters("first")))
		for n := range 10 {
			must(t, l.Park(t.Context(), letters(fmt.Sprint(n))))
		}
		if n := l.topic.tries(); n != 1 {
			t.Errorf("the topic was tried %d times", n)
		}
		l.mongo.set("away")
		l.disk.set("away")
		l.topic.set("")
		must(t, l.Park(t.Context(), letters("last resort"))) // better than to wait
		l.mongo.set("")
		must(t, l.Park(t.Context(), letters("again")))
		if got := l.topic.has(); !slices.Equal(got, []string{"again", "last resort"}) {
			t.Errorf("the topic has %q", got)
		}
		l.topic.set("away")
		must(t, l.Park(t.Context(), letters("elsewhere")))
		l.topic.set("")
		time.Sleep(31 * time.Second)
		must(t, l.Park(t.Context(), letters("back")))
		if got := l.topic.has(); !slices.Contains(got, "back") {
			t.Errorf("the topic has %q", got)
		}
	})
}

func TestWhatIsHeldElsewhereGoesToTheTopicWhenItIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLot()
		l.topic.set("away")
		var want []string
		for n := range 250 {
			id := fmt.Sprintf("%03d", n)
			want = append(want, id)
			if n == 100 {
				l.mongo.set("away")
			}
			must(t, l.Park(t.Context(), letters(id)))
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		time.Sleep(time.Minute)
		if n := len(l.topic.has()); n != 0 {
			t.Errorf("%d letters are in a topic that is away", n)
		}
		if l.metric(t, "cartstream_dead_letters_held", "spool") == 0 {
			t.Error("nothing tells that letters wait")
		}
		l.topic.set("")
		time.Sleep(6 * time.Second)
		if got := l.topic.has(); !slices.Equal(got, want[100:]) {
			t.Errorf("the spool's letters: %q", got) // MongoDB, which is away, doesn't hold them up
		}
		l.mongo.set("silent")
		time.Sleep(20 * time.Second)
		l.mongo.set("")
		time.Sleep(20 * time.Second)
		if got := l.topic.has(); !slices.Equal(got, want) {
			t.Errorf("the topic has %q", got)
		}
		if left := append(l.mongo.has(), l.disk.has()...); len(left) != 0 {
			t.Errorf("still held: %q", left)
		}
		if l.metric(t, "cartstream_dead_letters_held", "spool")+l.metric(t, "cartstream_dead_letters_held", "mongodb") != 0 {
			t.Error("letters are said to wait that don't")
		}
		stop()
		must(t, <-ended)
	})
}
