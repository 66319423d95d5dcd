package timer_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"cartstream/consumers/timer"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("cartstream/deploy/engines/engine.init.func1.1")) // starts real engines
}

// instance is a Timer that runs until the test ends, or stop.
type instance struct {
	*timer.Timer
	link     *link
	registry *prometheus.Registry
	stop     func()
}

// start starts an instance. What its job does is told of whom it does it.
func start(t *testing.T, name string, leases timer.Leases, jobs ...timer.Job) *instance {
	t.Helper()
	i := &instance{link: &link{Leases: leases}, registry: prometheus.NewRegistry()}
	var err error
	i.Timer, err = timer.New(timer.Config{
		Jobs: jobs, Leases: i.link, Instance: name, Log: slog.New(slog.DiscardHandler), Registerer: i.registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- i.Run(ctx) }()
	i.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(i.stop)
	return i
}

// diary is what a job's runs left.
type diary struct {
	mu    sync.Mutex
	lines []line
	now   int // how many run at this moment
	most  int
}

type line struct {
	by         string
	began      time.Time
	ended      time.Time
	cause, err error
}

// job returns a job that every instance may be given, each in its name. what is what a run does; nil does nothing.
func (d *diary) job(by, name string, when timer.Slots, what func(ctx context.Context) (int64, error)) timer.Job {
	return timer.Job{Name: name, When: when, Run: func(ctx context.Context) (items int64, err error) {
		d.mu.Lock()
		n := len(d.lines)
		d.lines = append(d.lines, line{by: by, began: time.Now()})
		d.now++
		d.most = max(d.most, d.now)
		d.mu.Unlock()
		defer func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.now--
			d.lines[n].ended, d.lines[n].err = time.Now(), err
			if ctx.Err() != nil {
				d.lines[n].cause = context.Cause(ctx)
			}
		}()
		if what == nil {
			return 1, nil
		}
		return what(ctx)
	}}
}

func (d *diary) runs() []line {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]line(nil), d.lines...)
}

// lasting is a run that takes that long, or until its ctx ends.
func lasting(d time.Duration) func(context.Context) (int64, error) {
	return func(ctx context.Context) (int64, error) {
		select {
		case <-time.After(d):
			return 1, nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// metric returns the value of one of the job's metrics.
func (i *instance) metric(t *testing.T, name string) float64 {
	t.Helper()
	families, err := i.registry.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			if m.Counter != nil {
				return m.Counter.GetValue()
			}
			return m.Gauge.GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
