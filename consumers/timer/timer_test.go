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
