package timer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// attend runs the job for as long as it is due and nobody else runs it. Where it can't tell, the next look will.
func (t *Timer) attend(ctx context.Context, j *job) {
	select {
	case j.busy <- struct{}{}:
		defer func() { <-j.busy }()
	default:
		return
	}
	for ctx.Err() == nil {
		more, err := t.attempt(ctx, j)
		if err != nil && ctx.Err() == nil {
			t.complain(j, err)
		}
		if !more {
			return
		}
	}
}

// complain logs twice a minute at most what may last for hours.
func (t *Timer) complain(j *job, err error) {
	now, told := time.Now().UnixNano(), t.told.Load()
	if now-told > int64(30*time.Second) && t.told.CompareAndSwap(told, now) {
		j.log.Warn("timers wait for Redis", "error", err)
	}
}

// attempt runs the job where it is due. It reports whether to look again at once. An error means that Redis couldn't be asked.
func (t *Timer) attempt(ctx context.Context, j *job) (more bool, err error) {
	s, err := t.Leases.State(ctx, j.Name)
	if err != nil {
		return false, err
	}
	j.meter.saw(s)
	slot := j.When.Latest(s.Now)
	if s.Running || !slot.After(s.Slot) && s.Answered >= s.Asked {
		return false, nil
	}
	r := &run{t: t, job: j, claim: Claim{Token: rand.Text(), Instance: t.Instance, Slot: slot, Now: s.Now}, began: time.Now()}
	asked, took, err := t.Leases.Take(ctx, j.Name, r.claim, leaseFor)
	if err != nil || !took {
		return false, err // where only the answer was lost, the lease ends by itself
	}
	r.asked = asked
	return r.do(ctx), nil
}

// run is one run of a job, from taking its lease to settling it.
type run struct {
	t     *Timer
	job   *job
	claim Claim
	asked int64
	began time.Time
}

// do reports whether the run is done and recorded.
func (r *run) do(ctx context.Context) bool {
	held, lose := context.WithCancelCause(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		r.keep(held, lose)
	}()
	defer func() { lose(nil); <-kept }()

	r.job.meter.running.Set(1)
	items, failure := r.call(held)
	r.job.meter.running.Set(0)
	took := time.Since(r.began)
	o := Outcome{Kind: Done, At: r.claim.Now.Add(took), Slot: r.claim.Slot, Asked: r.asked, Took: took, Items: items}
	switch {
	case errors.Is(context.Cause(held), ErrLost):
		r.tell("lost", slog.LevelWarn, "a timer's run lost its lease", "error", context.Cause(held))
		return false
	case failure != nil && ctx.Err() != nil:
		o.Kind = Released
	case failure != nil:
		o.Kind, o.Failure, o.Rest = Failed, failure.Error(), min(restFor, r.job.When.apart())
	}
	if err := r.settle(held, o); err != nil {
		r.tell("lost", slog.LevelWarn, "a timer's run could not be recorded", "outcome", string(o.Kind), "error", err)
		return false
	}
	switch o.Kind {
	case Released:
		r.tell("released", slog.LevelInfo, "a timer's run ends with its process")
	case Failed:
		r.tell("failed", slog.LevelWarn, "a timer's run failed", "rest", o.Rest, "error", failure)
	case Done:
		r.job.meter.items.Add(float64(items))
		r.tell("done", slog.LevelDebug, "a timer's run is done", "items", items)
	}
	return o.Kind == Done
}

// tell counts and logs what became of the run.
func (r *run) tell(outcome string, level slog.Level, text string, attrs ...any) {
	took := time.Since(r.began)
	r.job.meter.runs.WithLabelValues(r.job.Name, outcome).Observe(took.Seconds())
	attrs = append(attrs, "slot", r.claim.Slot.UTC(), "took", took)
	r.job.log.Log(context.Background(), level, text, attrs...) //nolint:sloglint // each caller's text is a constant
}

// call is the job's Run, with a panic as an error.
func (r *run) call(ctx context.Context) (items int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.job.log.Error("a timer's run panics", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return r.job.Run(ctx)
}

// keep renews the lease until ctx ends. It ends ctx, with ErrLost, once the lease is another's or could be before the next
// renewal.
func (r *run) keep(ctx context.Context, lose context.CancelCauseFunc) {
	until := r.began.Add(leaseFor)
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		sent := time.Now()
		switch err := r.t.Leases.Renew(ctx, r.job.Name, r.claim.Token, leaseFor); {
		case err == nil:
			until = sent.Add(leaseFor)
		case errors.Is(err, ErrLost):
			lose(err)
		case time.Until(until) <= renewEvery:
			lose(fmt.Errorf("%w: %w", ErrLost, err))
		}
	}
}

// settle records the outcome, for as long as it takes and the lease is kept; once only where the process ends.
func (r *run) settle(ctx context.Context, o Outcome) error {
	for {
		err := r.t.Leases.Settle(context.WithoutCancel(ctx), r.job.Name, r.claim.Token, o)
		if err == nil || errors.Is(err, ErrLost) || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}
