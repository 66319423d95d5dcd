package timer_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cartstream/consumers/timer"
	"cartstream/deploy/enginetest"
)

func client(t *testing.T, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Both kinds of Leases keep the same promises: those in Redis, and those in memory on which the other tests stand.
func TestLeases(t *testing.T) {
	const (
		job = "nightly"
		ttl = time.Hour
	)
	slot := time.UnixMilli(1_800_000_000_000)
	claim := func(token string, at time.Time) timer.Claim {
		return timer.Claim{Token: token, Instance: "instance-" + token, Slot: at, Now: at.Add(time.Second)}
	}
	done := timer.Outcome{Kind: timer.Done, At: slot.Add(time.Minute), Slot: slot, Took: 59 * time.Second, Items: 7}
	failed := timer.Outcome{Kind: timer.Failed, At: slot.Add(time.Minute), Failure: "no", Rest: time.Hour}

	for claimed, steps := range map[string]func(t *testing.T, l timer.Leases){
		"of two that want a lease one gets it": func(t *testing.T, l timer.Leases) {
			takes(t, l, job, claim("a", slot), true)
			takes(t, l, job, claim("b", slot), false)
			s := state(t, l, job)
			if !s.Running || s.Instance != "instance-a" || !s.Started.Equal(slot.Add(time.Second)) || !s.Slot.IsZero() || s.Now.IsZero() {
				t.Errorf("%+v", s)
			}
		},
		"a slot that is done isn't run again, the next one is": func(t *testing.T, l timer.Leases) {
			takes(t, l, job, claim("a", slot), true)
			must(t, l.Settle(t.Context(), job, "a", done))
			takes(t, l, job, claim("b", slot), false)
			takes(t, l, job, claim("b", slot.Add(-time.Hour)), false)
			s := state(t, l, job)
			if s.Running || !s.Slot.Equal(slot) || !s.Finished.Equal(done.At) || s.Took != done.Took || s.Items != 7 {
				t.Errorf("%+v", s)
			}
			takes(t, l, job, claim("b", slot.Add(time.Millisecond)), true)
		},
		"only the holder renews and settles": func(t *testing.T, l timer.Leases) {
			takes(t, l, job, claim("a", slot), true)
			must(t, l.Renew(t.Context(), job, "a", ttl))
			if err := l.Renew(t.Context(), job, "b", ttl); !errors.Is(err, timer.ErrLost) {
				t.Errorf("renewed by another: %v", err)
			}
			for _, o := range []timer.Outcome{done, failed, {Kind: timer.Released}} {
				if err := l.Settle(t.Context(), job, "b", o); !errors.Is(err, timer.ErrLost) {
					t.Errorf("settled by another: %v", err)
				}
			}
			if s := state(t, l, job); !s.Running || !s.Slot.IsZero() || s.Failure != "" {
				t.Errorf("%+v", s)
			}
		},
		"a lease ends by itself, and then its run counts no more": func(t *testing.T, l timer.Leases) {
			if _, took, err := l.Take(t.Context(), job, claim("a", slot), time.Millisecond); err != nil || !took {
				t.Fatal(took, err)
			}
			wait(t, func() bool { return !state(t, l, job).Running })
			takes(t, l, job, claim("b", slot), true)
			if err := l.Renew(t.Context(), job, "a", ttl); !errors.Is(err, timer.ErrLost) {
				t.Errorf("renewed: %v", err)
			}
			if err := l.Settle(t.Context(), job, "a", done); !errors.Is(err, timer.ErrLost) {
				t.Errorf("settled: %v", err)
			}
			must(t, l.Renew(t.Context(), job, "b", ttl))
		},
		"a renewed lease goes on": func(t *testing.T, l timer.Leases) {
			if _, took, err := l.Take(t.Context(), job, claim("a", slot), time.Minute); err != nil || !took {
				t.Fatal(took, err)
			}
			must(t, l.Renew(t.Context(), job, "a", time.Millisecond))
			wait(t, func() bool { return !state(t, l, job).Running })
		},
		"settling may be repeated, by that run alone": func(t *testing.T, l timer.Leases) {
			takes(t, l, job, claim("a", slot), true)
			must(t, l.Settle(t.Context(), job, "a", done))
			must(t, l.Settle(t.Context(), job, "a", done))
			takes(t, l, job, claim("b", slot.Add(time.Hour)), true)
			must(t, l.Settle(t.Context(), job, "a", done))
			if s := state(t, l, job); !s.Running {
				t.Errorf("the repeat ended another's run: %+v", s)
			}
		},
		"a failed run leaves its slot, and the job rests": func(t *testing.T, l timer.Leases) {
			takes(t, l, job, claim("a", slot), true)
			must(t, l.Settle(t.Context(), job, "a", failed))
			s := state(t, l, job)
			if s.Running || !s.Slot.IsZero() || s.Failure != "no" || !s.Failed.Equal(failed.At) || !s.Finished.IsZero() {
				t.Errorf("%+v", s)
			}
			takes(t, l, job, claim("b", slot), false)
		},
		"a rest ends": func(t *testing.T, l timer.Leases) {
			takes(t, l, job, claim("a", slot), true)
			short := failed
			short.Rest = time.Millisecond
			must(t, l.Settle(t.Context(), job, "a", short))
			wait(t, func() bool { _, took, _ := l.Take(t.Context(), job, claim("b", slot), ttl); return took })
		},
		"a released run leaves its slot to anybody": func(t *testing.T, l timer.Leases) {
			takes(t, l, job, claim("a", slot), true)
			must(t, l.Settle(t.Context(), job, "a", timer.Outcome{Kind: timer.Released, At: slot}))
			takes(t, l, job, claim("b", slot), true)
		},
		"a run that is asked for needs no slot, and answers all asked for before it began": func(t *testing.T, l timer.Leases) {
			takes(t, l, job, claim("a", slot), true)
			must(t, l.Settle(t.Context(), job, "a", done))
			must(t, l.Ask(t.Context(), job))
			must(t, l.Ask(t.Context(), job))
			asked := takes(t, l, job, claim("b", slot), true)
			if asked != 2 {
				t.Errorf("%d asked for, want 2", asked)
			}
			must(t, l.Ask(t.Context(), job))
			answer := done
			answer.Asked = asked
			must(t, l.Settle(t.Context(), job, "b", answer))
			if s := state(t, l, job); s.Asked != 3 || s.Answered != 2 {
				t.Errorf("%+v", s)
			}
			takes(t, l, job, claim("c", slot), true)
		},
		"asking ends a rest": func(t *testing.T, l timer.Leases) {
			takes(t, l, job, claim("a", slot), true)
			must(t, l.Settle(t.Context(), job, "a", failed))
			must(t, l.Ask(t.Context(), job))
			takes(t, l, job, claim("b", slot), true)
		},
		"asking ends no run": func(t *testing.T, l timer.Leases) {
			takes(t, l, job, claim("a", slot), true)
			must(t, l.Ask(t.Context(), job))
			takes(t, l, job, claim("b", slot), false)
		},
		"jobs have nothing to do with each other": func(t *testing.T, l timer.Leases) {
			takes(t, l, job, claim("a", slot), true)
			takes(t, l, "remind", claim("a", slot), true)
			must(t, l.Settle(t.Context(), job, "a", done))
			if s := state(t, l, "remind"); !s.Running || !s.Slot.IsZero() {
				t.Errorf("%+v", s)
			}
		},
	} {
		t.Run(claimed, func(t *testing.T) {
			t.Run("in memory", func(t *testing.T) { steps(t, newMemory()) })
			t.Run("in Redis", func(t *testing.T) { steps(t, timer.NewLeases(client(t, enginetest.Redis(t)))) })
		})
	}
}

func takes(t *testing.T, l timer.Leases, job string, c timer.Claim, want bool) int64 {
	t.Helper()
	asked, took, err := l.Take(t.Context(), job, c, time.Hour)
	must(t, err)
	if took != want {
		t.Fatalf("took the lease: %v", took)
	}
	return asked
}

func state(t *testing.T, l timer.Leases, job string) timer.State {
	t.Helper()
	s, err := l.State(t.Context(), job)
	must(t, err)
	return s
}

// wait returns once the condition holds.
func wait(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); {
		if time.Now().After(deadline) {
			t.Fatal("it never comes")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestOnRedisASlotIsRunOnceByOneOfSeveral(t *testing.T) {
	const apart = 100 * time.Millisecond
	addr := enginetest.Redis(t)
	leases := timer.NewLeases(client(t, addr))
	first := timer.Every(apart).Latest(state(t, leases, "every").Now)
	var runs, now, most atomic.Int64
	job := timer.Job{Name: "every", When: timer.Every(apart), Run: func(context.Context) (int64, error) {
		runs.Add(1)
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		now.Add(-1)
		return 1, nil
	}}
	var all []*instance
	for _, name := range []string{"a", "b", "c"} {
		all = append(all, start(t, name, timer.NewLeases(client(t, addr)), job))
	}
	wait(t, func() bool { return runs.Load() >= 15 })
	for _, i := range all {
		i.stop()
	}
	last := state(t, leases, "every")
	if slots := int64(last.Slot.Sub(first)/apart) + 1; runs.Load() > slots || most.Load() != 1 || last.Running {
		t.Errorf("%d runs of %d slots, %d at once, %+v", runs.Load(), slots, most.Load(), last)
	}
}

// The process with the lease is gone: nothing renews it, and when it ends another one begins the same slot.
func TestOnRedisARunIsTakenUpOnceItsLeaseEnds(t *testing.T) {
	addr := enginetest.Redis(t)
	leases := timer.NewLeases(client(t, addr))
	every := timer.Every(time.Second)
	slot := every.Latest(state(t, leases, "every").Now)
	if _, took, err := leases.Take(t.Context(), "every", timer.Claim{Token: "dead", Instance: "dead", Slot: slot, Now: slot}, time.Hour); err != nil || !took {
		t.Fatal(took, err)
	}
	var d diary
	b := start(t, "b", timer.NewLeases(client(t, addr)), d.job("b", "every", every, nil))
	must(t, b.Trigger(t.Context(), "every")) // which has to wait as well
	if runs := d.runs(); len(runs) != 0 {
		t.Fatalf("runs beside the lease: %v", runs)
	}
	must(t, leases.Renew(t.Context(), "every", "dead", time.Millisecond)) // as if its time had come
	wait(t, func() bool { return len(d.runs()) > 0 })
	wait(t, func() bool { return !state(t, leases, "every").Slot.IsZero() })
	if s := state(t, leases, "every"); s.Instance != "b" || s.Answered != 1 {
		t.Errorf("%+v", s)
	}
}

func TestARedisThatForgotRunsEachJobOnceMore(t *testing.T) {
	server := enginetest.EmbeddedRedis(t)
	leases := timer.NewLeases(client(t, server.Addr))
	var d diary
	i := start(t, "a", leases, d.job("a", "every", timer.Every(100*time.Millisecond), nil))
	wait(t, func() bool { return len(d.runs()) > 0 })
	server.Stop()
	_, err := i.State(t.Context(), "every")
	if err == nil {
		t.Error("a Redis that is away knows everything")
	}
	if err := i.Trigger(t.Context(), "every"); err == nil {
		t.Error("a Redis that is away was asked for a run")
	}
	n := len(d.runs())
	server.Start()
	wait(t, func() bool { return len(d.runs()) > n+1 })
}
