package timer_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cartstream/consumers/timer"
)

// In a synctest bubble it is midnight of 2000-01-01, UTC, and time passes whenever everybody waits.
var midnight = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestOfSeveralInstancesOneRunsEachSlot(t *testing.T) {
	for claim, what := range map[string]func(context.Context) (int64, error){
		"where a run ends at once":               nil,
		"where a run is longer than its lease":   lasting(3 * time.Minute),
		"where a run is as long as three looks":  lasting(time.Minute),
		"where a run ends just before next slot": lasting(5*time.Minute - time.Millisecond),
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				leases := newMemory()
				for _, name := range []string{"a", "b", "c"} {
					start(t, name, leases, d.job(name, "every", timer.Every(5*time.Minute), what))
				}
				time.Sleep(time.Hour + 4*time.Minute)
				runs := d.runs()
				if len(runs) != 13 || d.most != 1 {
					t.Fatalf("%d runs, %d at once: %v", len(runs), d.most, runs)
				}
				for i, r := range runs[1:] { // the first one catches up with midnight
					due := midnight.Add(time.Duration(i+1) * 5 * time.Minute)
					if late := r.began.Sub(due); late < 0 || late > 20*time.Second {
						t.Errorf("the slot of %s ran %s late", due, late)
					}
				}
			})
		})
	}
}

func TestTheNightlyJobRunsOnceANightOverAChangeOfClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		berlin := location(t, "Europe/Berlin")
		nightly, err := timer.Daily("02:30", berlin)
		must(t, err)
		time.Sleep(time.Until(time.Date(2000, 3, 24, 12, 0, 0, 0, time.UTC))) // clocks go forward on the 26th
		var d diary
		leases := newMemory()
		for _, name := range []string{"a", "b"} {
			start(t, name, leases, d.job(name, "nightly", nightly, nil))
		}
		time.Sleep(3 * 24 * time.Hour)
		want := []string{"03-25 02:30", "03-26 03:30", "03-27 02:30"}
		runs := d.runs()[1:] // the first one catches up with the night before
		if len(runs) != len(want) {
			t.Fatalf("%d runs: %v", len(runs), runs)
		}
		for i, r := range runs {
			if got := r.began.In(berlin).Format("01-02 15:04"); got != want[i] {
				t.Errorf("ran at %s, want %s", got, want[i])
			}
		}
	})
}

func TestARunWhoseProcessWasKilledIsTakenUpWithinAMinute(t *testing.T) {
	for claim, after := range map[string]time.Duration{
		"at its very begin": 0, "just before a renewal": 6999 * time.Millisecond, "just after one": 7001 * time.Millisecond,
		"just before a look": 19999 * time.Millisecond, "after half an hour": 30*time.Minute + 123*time.Millisecond,
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				leases := newMemory()
				at3, err := timer.Daily("03:00", time.UTC)
				must(t, err)
				job := func(by string) timer.Job { return d.job(by, "nightly", at3, lasting(2*time.Hour)) }
				leases.jobs["nightly"] = &entry{State: timer.State{Slot: midnight.Add(-21 * time.Hour)}}
				a := start(t, "a", leases, job("a"))
				time.Sleep(3*time.Hour + after)
				synctest.Wait()
				if runs := d.runs(); len(runs) != 1 {
					t.Fatalf("runs: %v", runs)
				}
				thaw := a.link.freeze()
				defer thaw()
				killed := time.Now()
				start(t, "b", leases, job("b"))
				time.Sleep(time.Minute)
				runs := d.runs()
				if len(runs) != 2 || runs[1].by != "b" || runs[1].began.Sub(killed) > time.Minute {
					t.Fatalf("runs: %v, killed at %s", runs, killed)
				}
			})
		})
	}
}

// A process that was paused goes on with its run when it wakes up: it must learn that the run is another's now, and what
// it brings must not count.
func TestAPausedRunThatLostItsLeaseEndsAndRecordsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		leases := newMemory()
		every := timer.Every(6 * time.Hour)
		a := start(t, "a", leases, d.job("a", "every", every, lasting(time.Hour)))
		time.Sleep(time.Minute)
		thaw := a.link.freeze()
		time.Sleep(time.Second)
		start(t, "b", leases, d.job("b", "every", every, lasting(3*time.Hour)))
		time.Sleep(10 * time.Minute)
		thaw()
		time.Sleep(10 * time.Second)
		first := d.runs()[0]
		if first.by != "a" || !errors.Is(first.cause, timer.ErrLost) {
			t.Fatalf("the paused run: %+v", first)
		}
		if s, _ := leases.State(t.Context(), "every"); !s.Running || s.Instance != "b" || !s.Slot.IsZero() || s.Failure != "" {
			t.Errorf("what the paused run left: %+v", s)
		}
		time.Sleep(4 * time.Hour)
		if s, _ := leases.State(t.Context(), "every"); !s.Slot.Equal(midnight) || len(d.runs()) != 2 {
			t.Errorf("%d runs, %+v", len(d.runs()), s)
		}
	})
}

// A run that ends in the very moment in which its process wakes up finds its lease gone.
func TestARunThatEndsAfterItLostItsLeaseRecordsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		leases := newMemory()
		stuck := func(context.Context) (int64, error) { time.Sleep(10 * time.Minute); return 1, nil }
		a := start(t, "a", leases, d.job("a", "every", timer.Every(6*time.Hour), stuck))
		time.Sleep(time.Minute)
		thaw := a.link.freeze()
		time.Sleep(9*time.Minute + 21*time.Second)
		thaw()
		synctest.Wait()
		s, _ := leases.State(t.Context(), "every")
		if len(d.runs()) != 1 || d.runs()[0].err != nil || !s.Slot.IsZero() {
			t.Errorf("%+v", s)
		}
	})
}

func TestWhileRedisIsAwayNothingRunsAndNothingIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		a := start(t, "a", newMemory(), d.job("a", "every", timer.Every(5*time.Minute), nil))
		time.Sleep(time.Minute)
		a.link.setCut(true)
		before := len(d.runs())
		time.Sleep(time.Hour)
		if ran, calls := len(d.runs())-before, a.link.calls(); ran != 0 || calls > 6*60 {
			t.Errorf("%d runs, %d calls in an hour", ran, calls)
		}
		a.link.setCut(false)
		time.Sleep(time.Minute)
		if ran := len(d.runs()) - before; ran != 1 {
			t.Errorf("%d runs to catch up with an hour of slots, want 1", ran)
		}
	})
}

func TestARunOutlivesAShortOutageAndEndsBeforeItsLeaseCould(t *testing.T) {
	for claim, c := range map[string]struct {
		outage time.Duration
		ends   bool // by itself
	}{
		"ten seconds are bridged":               {10 * time.Second, true},
		"half a minute would outlast the lease": {30 * time.Second, false},
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				a := start(t, "a", newMemory(), d.job("a", "every", timer.Every(time.Hour), lasting(10*time.Minute)))
				time.Sleep(2 * time.Minute)
				a.link.setCut(true)
				cut := time.Now()
				time.Sleep(c.outage)
				a.link.setCut(false)
				time.Sleep(15 * time.Minute)
				first := d.runs()[0]
				if c.ends != (first.err == nil) {
					t.Fatalf("the run: %+v", first)
				}
				if !c.ends && (!errors.Is(first.cause, timer.ErrLost) || first.ended.Sub(cut) > 30*time.Second) {
					t.Errorf("ended %s after the last renewal that could be, for %v", first.ended.Sub(cut), first.cause)
				}
			})
		})
	}
}

func TestWhatARunDidIsRecordedWhenRedisComesBackInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		leases := newMemory()
		a := start(t, "a", leases, d.job("a", "every", timer.Every(time.Hour), lasting(time.Minute)))
		time.Sleep(75 * time.Second) // the run began at 0:20
		a.link.setCut(true)
		time.Sleep(15 * time.Second)
		a.link.setCut(false)
		time.Sleep(10 * time.Minute)
		s, _ := leases.State(t.Context(), "every")
		if !s.Slot.Equal(midnight) || len(d.runs()) != 1 {
			t.Errorf("%d runs, %+v", len(d.runs()), s)
		}
	})
}

func TestAFailedRunIsTriedAgainTheNextMinute(t *testing.T) {
	for claim, fail := range map[string]func() error{
		"after an error": func() error { return errors.New("shard 7 is recovering") },
		"after a panic":  func() error { panic("shard 7 is recovering") },
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				leases := newMemory()
				var tries atomic.Int64
				what := func(context.Context) (int64, error) {
					if tries.Add(1) < 4 {
						return 0, fail()
					}
					return 5, nil
				}
				a := start(t, "a", leases, d.job("a", "every", timer.Every(time.Hour), what))
				b := start(t, "b", leases, d.job("b", "every", timer.Every(time.Hour), what))
				time.Sleep(2 * time.Minute)
				s, err := a.State(t.Context(), "every")
				must(t, err)
				if !s.Slot.IsZero() || s.Failure == "" || !s.Finished.IsZero() || s.Running {
					t.Errorf("after a failure: %+v", s)
				}
				time.Sleep(30 * time.Minute)
				runs := d.runs()
				if len(runs) != 4 {
					t.Fatalf("%d runs, want 3 that fail and one that doesn't", len(runs))
				}
				for i := range 3 {
					if rest := runs[i+1].began.Sub(runs[i].ended); rest < time.Minute || rest > 80*time.Second {
						t.Errorf("tried again after %s", rest)
					}
				}
				s, err = a.State(t.Context(), "every")
				must(t, err)
				if !s.Slot.Equal(midnight) || s.Items != 5 {
					t.Errorf("in the end: %+v", s)
				}
				if got := a.metric(t, "cartstream_timer_items_total") + b.metric(t, "cartstream_timer_items_total"); got != 5 {
					t.Errorf("%g items", got)
				}
			})
		})
	}
}

func TestAfterDaysOfDowntimeOnlyTheLatestSlotRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(10*24*time.Hour + 7*time.Hour)
		var d diary
		leases := newMemory()
		at3, err := timer.Daily("03:00", time.UTC)
		must(t, err)
		leases.jobs["nightly"] = &entry{State: timer.State{Slot: midnight.Add(3 * time.Hour)}}
		start(t, "a", leases, d.job("a", "nightly", at3, nil))
		start(t, "b", leases, d.job("b", "nightly", at3, nil))
		time.Sleep(12 * time.Hour)
		if runs := d.runs(); len(runs) != 1 || runs[0].began.Sub(midnight) > 10*24*time.Hour+7*time.Hour+20*time.Second {
			t.Errorf("runs: %v", runs)
		}
	})
}

func TestARunThatIsAskedForHappensAtOnceOrAfterTheOneThatRuns(t *testing.T) {
	const name = "every"
	for claim, c := range map[string]struct {
		asks []time.Duration // when, of the other instance
		want []time.Duration // runs begin
	}{
		"while none runs, at once":                    {[]time.Duration{10 * time.Minute}, []time.Duration{0, 10 * time.Minute}},
		"while one runs, after it":                    {[]time.Duration{time.Minute}, []time.Duration{0, 5 * time.Minute}},
		"several times while one runs, once after it": {[]time.Duration{time.Minute, 2 * time.Minute}, []time.Duration{0, 5 * time.Minute}},
		"again while the second runs, once more":      {[]time.Duration{time.Minute, 6 * time.Minute}, []time.Duration{0, 5 * time.Minute, 10 * time.Minute}},
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var d diary
				leases := newMemory()
				start(t, "a", leases, d.job("a", name, timer.Every(time.Hour), lasting(5*time.Minute)))
				time.Sleep(30 * time.Second)
				begin := d.runs()[0].began
				b := start(t, "b", leases, d.job("b", name, timer.Every(time.Hour), lasting(5*time.Minute)))
				for _, at := range c.asks {
					time.Sleep(time.Until(begin.Add(at)))
					must(t, b.Trigger(t.Context(), name))
				}
				time.Sleep(time.Until(begin.Add(40 * time.Minute)))
				runs := d.runs()
				if len(runs) != len(c.want) || d.most > 1 {
					t.Fatalf("%d runs, %d at once, want %d", len(runs), d.most, len(c.want))
				}
				for i, r := range runs {
					if late := r.began.Sub(begin) - c.want[i]; late < 0 || late > time.Second {
						t.Errorf("run %d began %s after the first, want %s", i, r.began.Sub(begin), c.want[i])
					}
				}
			})
		})
	}
}

func TestARunThatIsAskedForDoesntWaitForARestingJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		failing := func(context.Context) (int64, error) { return 0, errors.New("no") }
		a := start(t, "a", newMemory(), d.job("a", "every", timer.Every(time.Hour), failing))
		time.Sleep(30 * time.Second)
		must(t, a.Trigger(t.Context(), "every"))
		synctest.Wait()
		if runs := d.runs(); len(runs) != 2 {
			t.Errorf("%d runs", len(runs))
		}
	})
}

// Asked for and not yet begun when the process dies: another one answers.
func TestARunThatWasAskedForHappensOnAnyInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		leases := newMemory()
		start(t, "a", leases, d.job("a", "every", timer.Every(time.Hour), nil))
		time.Sleep(time.Minute)
		must(t, leases.Ask(t.Context(), "every"))
		time.Sleep(20 * time.Second)
		if runs := d.runs(); len(runs) != 2 {
			t.Errorf("%d runs", len(runs))
		}
	})
}

func TestADrainEndsTheRunAndFreesItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		leases := newMemory()
		a := start(t, "a", leases, d.job("a", "every", timer.Every(6*time.Hour), lasting(time.Hour)))
		time.Sleep(30 * time.Second)
		stopped := time.Now()
		a.stop()
		if runs := d.runs(); len(runs) != 1 || !errors.Is(runs[0].err, context.Canceled) || time.Since(stopped) > time.Second {
			t.Fatalf("runs: %v", runs)
		}
		if s, _ := leases.State(t.Context(), "every"); s.Running || !s.Slot.IsZero() || s.Failure != "" {
			t.Errorf("%+v", s)
		}
		start(t, "b", leases, d.job("b", "every", timer.Every(6*time.Hour), lasting(time.Hour)))
		time.Sleep(20 * time.Second)
		if runs := d.runs(); len(runs) != 2 || runs[1].by != "b" {
			t.Errorf("runs: %v", runs)
		}
	})
}

// What a run finishes while its process ends is done.
func TestARunThatEndsWellWhileItsProcessEndsIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		leases := newMemory()
		finishing := func(ctx context.Context) (int64, error) { <-ctx.Done(); return 1, nil }
		a := start(t, "a", leases, d.job("a", "every", timer.Every(6*time.Hour), finishing))
		time.Sleep(30 * time.Second)
		a.stop()
		if s, _ := leases.State(t.Context(), "every"); s.Running || !s.Slot.Equal(midnight) {
			t.Errorf("%+v", s)
		}
	})
}

func TestOverdueIsHowLongTheFirstUndoneSlotHasBeenDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d diary
		var fails atomic.Bool
		what := func(context.Context) (int64, error) {
			if fails.Load() {
				return 0, errors.New("no")
			}
			return 3, nil
		}
		leases := newMemory()
		a := start(t, "a", leases, d.job("a", "every", timer.Every(5*time.Minute), what))
		idle := start(t, "b", leases, d.job("b", "every", timer.Every(5*time.Minute), what))
		time.Sleep(11 * time.Minute)
		for _, i := range []*instance{a, idle} {
			if got := i.metric(t, "cartstream_timer_overdue_seconds"); got != 0 {
				t.Errorf("overdue by %g s though every slot is done", got)
			}
			if got := int64(i.metric(t, "cartstream_timer_last_success_timestamp_seconds")); got != midnight.Add(10*time.Minute).Unix() {
				t.Errorf("last success %d", got)
			}
		}
		fails.Store(true)
		time.Sleep(21 * time.Minute) // 0:32; 0:15 is the first that isn't done
		for _, i := range []*instance{a, idle} {
			if got := i.metric(t, "cartstream_timer_overdue_seconds"); got != (17 * time.Minute).Seconds() {
				t.Errorf("overdue by %g s", got)
			}
		}
		a.link.setCut(true)
		time.Sleep(time.Hour)
		if got := a.metric(t, "cartstream_timer_overdue_seconds"); got != (77 * time.Minute).Seconds() {
			t.Errorf("overdue by %g s while Redis is away", got)
		}
	})
}

func TestJobsThatCantBeAreAllNamed(t *testing.T) {
	ok := timer.Every(time.Minute)
	_, err := timer.New(timer.Config{Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Leases: newMemory(), Jobs: []timer.Job{
		{Name: "twice", When: ok}, {Name: "twice", When: ok}, {Name: "{tag}", When: ok}, {Name: "busy", When: timer.Every(time.Millisecond)},
	}})
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	for _, want := range []string{`"twice"`, `"{tag}"`, "busy: every 1ms"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in %v", want, err)
		}
	}
}

func TestAnUnknownTimerIsAnError(t *testing.T) {
	i, err := timer.New(timer.Config{Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Leases: newMemory()})
	must(t, err)
	if err := i.Trigger(t.Context(), "nightly"); !errors.Is(err, timer.ErrUnknown) {
		t.Errorf("got %v", err)
	}
	if _, err := i.State(t.Context(), "nightly"); !errors.Is(err, timer.ErrUnknown) {
		t.Errorf("got %v", err)
	}
}
