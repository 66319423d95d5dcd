package timer_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"cartstream/consumers/timer"
)

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
