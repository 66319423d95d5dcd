// Package timer runs jobs by the clock, each slot of a job once across all instances: what has to happen every few minutes
// or at three in the night, whichever process lives then.
package timer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	// lookEvery is how often at most each instance looks whether a job is due. With leaseFor it is how long it takes
	// until a run whose process was killed is begun anew: 50 s at most.
	lookEvery = 20 * time.Second
	leaseFor  = 30 * time.Second
	// renewEvery: three renewals may fail in a row.
	renewEvery = 7 * time.Second
	// restFor is how long a job rests after a failure; less where its slots are closer.
	restFor = time.Minute
	// drainFor is how long Run waits for a run whose ctx has ended.
	drainFor = 8 * time.Second
)

// Job is something to do by the clock.
type Job struct {
	// Name is the job's in Redis, in logs and in metrics: lower-case letters and dashes. A job that is renamed is another one.
	Name string
	When Slots
	Run  Run
}

// Run does a job and returns how much there was to do. It is called for the latest slot alone, however many were missed;
// never twice at once across all instances, but for a process that was paused and doesn't know yet; and again after an
// error, or where its process was killed: so it must not matter how often it runs. Once ctx ends it returns soon; what it
// does after that no longer counts. context.Cause(ctx) is ErrLost where its lease is gone.
type Run func(ctx context.Context) (items int64, err error)

// Config of a Timer.
type Config struct {
	Jobs   []Job
	Leases Leases
	// Instance is this process's name, unlike any other's.
	Instance   string
	Log        *slog.Logger
	Registerer prometheus.Registerer
}

// Timer runs the jobs that are due and that no other instance runs.
type Timer struct {
	Config
	jobs []*job
	told atomic.Int64 // when it was last said that Redis can't be asked, in nanoseconds
}

// job is a Job in this process.
type job struct {
	Job
	meter *meter
	log   *slog.Logger
	busy  chan struct{} // holds one while this process attends to the job

	mu    sync.Mutex
	nudge func() error // looks at once whether the job is due; nil while nothing is scheduled
}

var goodName = regexp.MustCompile(`^[a-z][a-z-]*$`)

// New returns a Timer of the jobs, or everything that is wrong with them. It waits for nothing.
func New(c Config) (*Timer, error) {
	t := &Timer{Config: c}
	var faults []error
	names := map[string]bool{}
	metrics := newMetrics(c.Registerer)
	for _, j := range c.Jobs {
		switch err := j.When.check(); {
		case !goodName.MatchString(j.Name), names[j.Name]:
			faults = append(faults, fmt.Errorf("timer %q: a name of its own, in lower-case letters and dashes", j.Name))
			continue
		case err != nil:
			faults = append(faults, fmt.Errorf("timer %s: %w", j.Name, err))
		}
		names[j.Name] = true
		t.jobs = append(t.jobs, &job{
			Job: j, meter: metrics.of(j), log: c.Log.With("job", j.Name), busy: make(chan struct{}, 1),
		})
	}
	return t, errors.Join(faults...)
}

// Run runs jobs until ctx ends. Then it ends the ctx of those that run, gives back their leases, and returns once
// they have returned, after 8 s at most. While Redis is away no job begins; nothing else comes of it.
func (t *Timer) Run(ctx context.Context) error {
	scheduler, err := gocron.NewScheduler(
		gocron.WithLocation(time.UTC),
		gocron.WithStopTimeout(time.Second),
		gocron.WithGlobalJobOptions(gocron.WithSingletonMode(gocron.LimitModeReschedule), gocron.WithContext(ctx)),
	)
	if err != nil {
		return fmt.Errorf("timers: %w", err)
	}
	scheduled := make([]gocron.Job, len(t.jobs))
	for i, j := range t.jobs {
		// The scheduler's own lock on a job would be free again as soon as a fast run ends, and the next instance, whose
		// clock is a little behind, would run it once more. So the scheduler only looks: slots and leases decide.
		period := j.looks()
		scheduled[i], err = scheduler.NewJob(gocron.DurationJob(period),
			gocron.NewTask(func(ctx context.Context) { t.attend(ctx, j) }),
			gocron.WithName(j.Name), gocron.WithStartAt(gocron.WithStartDateTimePast(j.When.Latest(time.Now()).Add(period))))
		if err != nil {
			return errors.Join(fmt.Errorf("timer %s: %w", j.Name, err), scheduler.Shutdown())
		}
	}
	scheduler.Start()
	for i, j := range t.jobs {
		j.nudgeBy(scheduled[i].RunNow)
	}
	<-ctx.Done()
	t.drain()
	if err := scheduler.Shutdown(); err != nil {
		t.Log.Warn("a timer's run doesn't end", "error", err)
	}
	return nil
}

// drain waits for the runs, whose ctx has ended.
func (t *Timer) drain() {
	end := time.NewTimer(drainFor)
	defer end.Stop()
	for _, j := range t.jobs {
		j.nudgeBy(nil)
		select {
		case j.busy <- struct{}{}: // and never free again
		case <-end.C:
			return
		}
	}
}

// looks is how often to look whether the job is due: so that a look falls on each slot.
func (j *job) looks() time.Duration {
	apart := j.When.apart()
	return apart / ((apart + lookEvery - 1) / lookEvery)
}

func (j *job) nudgeBy(f func() error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.nudge = f
}

// ErrUnknown says that there is no job of that name.
var ErrUnknown = errors.New("no such timer")

func (t *Timer) named(name string) (*job, error) {
	for _, j := range t.jobs {
		if j.Name == name {
			return j, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", ErrUnknown, name)
}

// Trigger asks for a run of the job, besides its slots: at once, or, where one runs on any instance, after it. Once Trigger returned nil, the
// run happens even if this process ends. Errors are ErrUnknown, and others where Redis can't be asked now.
func (t *Timer) Trigger(ctx context.Context, name string) error {
	j, err := t.named(name)
	if err != nil {
		return err
	}
	if err := t.Leases.Ask(ctx, name); err != nil {
		return err
	}
	j.mu.Lock()
	nudge := j.nudge
	j.mu.Unlock()
	if nudge != nil {
		if err := nudge(); err != nil {
			j.log.Debug("the next look begins the run that was asked for", "error", err)
		}
	}
	return nil
}

// State returns what all instances know of the job. Errors are ErrUnknown, and others where Redis can't be asked now.
func (t *Timer) State(ctx context.Context, name string) (State, error) {
	if _, err := t.named(name); err != nil {
		return State{}, err
	}
	return t.Leases.State(ctx, name)
}
