package reminder_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cartstream/api/cart"
	"cartstream/consumers/reminder"
)

// shards are carts that were left alone, by shard, every second of them empty.
type shards struct {
	mu     sync.Mutex
	idle   []int
	fails  map[int]error
	asked  time.Duration
	limit  int
	calls  int
	now    int
	most   int
	ending context.CancelFunc // called by the third call
}

func (s *shards) Shards() int { return len(s.idle) }

func (s *shards) RemindIdle(ctx context.Context, shard int, idle time.Duration, limit int) (looked, reminded int, err error) {
	s.mu.Lock()
	s.now++
	s.most = max(s.most, s.now)
	s.calls++
	s.asked, s.limit = idle, limit
	if s.ending != nil && s.calls == 3 {
		s.ending()
	}
	s.mu.Unlock()
	time.Sleep(2 * time.Millisecond) // in a synctest bubble
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
	if err := errors.Join(ctx.Err(), s.fails[shard]); err != nil {
		return 0, 0, err
	}
	looked = min(limit, s.idle[shard])
	s.idle[shard] -= looked
	return looked, looked / 2, nil
}

func finder(s *shards) *reminder.Finder {
	return reminder.NewFinder(s, time.Hour, slog.New(slog.DiscardHandler))
}

func TestEveryIdleCartOfEveryShardIsLookedAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shards{idle: []int{0, 1, 100, 101, 250, 1000, 2, 0, 0, 0, 0, 30}}
		found, err := finder(s).Find(t.Context())
		must(t, err)
		for shard, left := range s.idle {
			if left != 0 {
				t.Errorf("%d carts of shard %d were not looked at", left, shard)
			}
		}
		if found != 50+50+125+500+1+15 || s.asked != time.Hour {
			t.Errorf("%d found, of carts idle for %s", found, s.asked)
		}
	})
}

func TestAFloodOfIdleCartsIsFoundAtABoundedPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shards{idle: make([]int, 16)}
		for i := range s.idle {
			s.idle[i] = 5000
		}
		begin := time.Now()
		_, err := finder(s).Find(t.Context())
		must(t, err)
		if took := time.Since(begin); took < 39*time.Second || took > 45*time.Second {
			t.Errorf("80,000 carts took %s", took)
		}
		if s.most > 4 || s.limit > 100 {
			t.Errorf("%d shards at once, %d carts a call", s.most, s.limit)
		}
	})
}

func TestShardsThatCantBeAskedHoldUpNoOther(t *testing.T) {
	for claim, err := range map[string]error{
		"while they recover":               &cart.Unavailable{Recovering: true, Err: errors.New("fenced")},
		"while their Redis doesn't answer": &cart.Unavailable{Err: errors.New("connection refused")},
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &shards{idle: []int{10, 10, 10, 10, 10, 10}, fails: map[int]error{0: err, 1: err, 2: err, 3: err}}
				f := finder(s)
				found, failure := f.Find(t.Context())
				if failure == nil || found != 10 {
					t.Errorf("%d found, %v", found, failure)
				}
				s.fails = nil
				found, failure = f.Find(t.Context())
				if failure != nil || found != 20 {
					t.Errorf("when they are back: %d found, %v", found, failure)
				}
			})
		})
	}
}

func TestARunThatEndsHalfwayLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shards{idle: []int{500, 500, 500, 500}}
		ctx, cancel := context.WithCancel(t.Context())
		s.ending = cancel
		f := finder(s)
		first, err := f.Find(ctx)
		if !errors.Is(err, context.Canceled) || s.calls > 4 {
			t.Errorf("%d calls, %v", s.calls, err)
		}
		second, err := f.Find(t.Context())
		if err != nil || first+second != 1000 {
			t.Errorf("%d and %d found, %v", first, second, err)
		}
	})
}

func TestItLooksEachMinuteOrEachTenthOfTheWait(t *testing.T) {
	for after, want := range map[time.Duration]time.Duration{
		7 * 24 * time.Hour: time.Minute, time.Hour: time.Minute, 10 * time.Minute: time.Minute, 5 * time.Minute: 30 * time.Second,
		time.Second: 100 * time.Millisecond,
	} {
		if got := reminder.NewFinder(&shards{}, after, slog.New(slog.DiscardHandler)).Interval(); got != want {
			t.Errorf("carts left alone for %s are looked for every %s, want %s", after, got, want)
		}
	}
}
