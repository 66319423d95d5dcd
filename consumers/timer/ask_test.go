package timer_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cartstream/consumers/timer"
)

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
