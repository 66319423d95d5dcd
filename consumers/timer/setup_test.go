package timer_test

import (
	"context"
	"errors"
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

// memory is Leases in this process, on its clock, which under testing/synctest moves by itself. Its instances see it through links of their own.
type memory struct {
	mu   sync.Mutex
	jobs map[string]*entry
}

type entry struct {
	timer.State
	token, settled string
	until          time.Time
}

func newMemory() *memory { return &memory{jobs: map[string]*entry{}} }

// of returns the job's entry. The caller holds mu.
func (m *memory) of(job string) *entry {
	if m.jobs[job] == nil {
		m.jobs[job] = &entry{}
	}
	e := m.jobs[job]
	if !e.until.After(time.Now()) {
		e.token = ""
	}
	return e
}

func (m *memory) State(_ context.Context, job string) (timer.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of(job)
	s := e.State
	s.Running, s.Now = e.token != "" && e.token != "rests", time.Now()
	return s, nil
}

func (m *memory) Take(_ context.Context, job string, c timer.Claim, ttl time.Duration) (int64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of(job)
	if e.token != "" || !c.Slot.After(e.Slot) && e.Answered >= e.Asked {
		return 0, false, nil
	}
	e.token, e.until, e.Instance, e.Started = c.Token, time.Now().Add(ttl), c.Instance, c.Now
	return e.Asked, true, nil
}

func (m *memory) Renew(_ context.Context, job, token string, ttl time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of(job)
	if e.token != token {
		return timer.ErrLost
	}
	e.until = time.Now().Add(ttl)
	return nil
}

func (m *memory) Settle(_ context.Context, job, token string, o timer.Outcome) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of(job)
	switch {
	case e.token != token && e.settled == token:
		return nil
	case e.token != token:
		return timer.ErrLost
	}
	e.token, e.settled = "", token
	switch o.Kind {
	case timer.Failed:
		e.Failed, e.Failure = o.At, o.Failure
		e.token, e.until = "rests", time.Now().Add(o.Rest)
	case timer.Done:
		e.Finished, e.Took, e.Items, e.Answered = o.At, o.Took, o.Items, max(e.Answered, o.Asked)
		if o.Slot.After(e.Slot) {
			e.Slot = o.Slot
		}
	}
	return nil
}

func (m *memory) Ask(_ context.Context, job string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of(job)
	e.Asked++
	if e.token == "rests" {
		e.token = ""
	}
	return nil
}

var errAway = errors.New("redis is away")

// link is how one instance reaches Leases. While it is cut, calls fail; while it is frozen, as in a process that was
// paused or killed, they don't return.
type link struct {
	timer.Leases
	mu     sync.Mutex
	cut    bool
	frozen chan struct{}
	looks  int
}

func (l *link) pass() error {
	l.mu.Lock()
	frozen := l.frozen
	l.looks++
	l.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return errAway
	}
	return nil
}

func (l *link) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.looks = cut, 0
}

func (l *link) calls() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.looks
}

func (l *link) freeze() (thaw func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen = make(chan struct{})
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		close(l.frozen)
		l.frozen = nil
	}
}

func (l *link) State(ctx context.Context, job string) (timer.State, error) {
	if err := l.pass(); err != nil {
		return timer.State{}, err
	}
	return l.Leases.State(ctx, job)
}

func (l *link) Take(ctx context.Context, job string, c timer.Claim, ttl time.Duration) (int64, bool, error) {
	if err := l.pass(); err != nil {
		return 0, false, err
	}
	return l.Leases.Take(ctx, job, c, ttl)
}

func (l *link) Renew(ctx context.Context, job, token string, ttl time.Duration) error {
	if err := l.pass(); err != nil {
		return err
	}
	return l.Leases.Renew(ctx, job, token, ttl)
}

func (l *link) Settle(ctx context.Context, job, token string, o timer.Outcome) error {
	if err := l.pass(); err != nil {
		return err
	}
	return l.Leases.Settle(ctx, job, token, o)
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
