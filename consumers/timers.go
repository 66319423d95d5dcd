package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	_ "time/tzdata" // TIMEZONE must mean something in an image without zones, too

	"github.com/prometheus/client_golang/prometheus"

	"cartstream/consumers/reconcile"
	"cartstream/consumers/reminder"
	"cartstream/consumers/timer"
)

// clock is the name by which a process is told to run the timers.
const clock = "timers"

// timers lists what happens by the clock, each on one process at a time, whichever is free.
var timers = []timed{
	{"remind", "idle carts → cart.reminders, each minute", func(cfg config, e *engines, log *slog.Logger) (timer.Slots, timer.Run, error) {
		f := reminder.NewFinder(e.carts, cfg.Reminders.After, log)
		return timer.Every(f.Interval()), f.Find, nil
	}},
	{recent, "changed carts: Redis ↔ MongoDB; changed books → what shards know", func(cfg config, e *engines, _ *slog.Logger) (timer.Slots, timer.Run, error) {
		return timer.Every(cfg.Timers.ReconcileEvery), e.reconciler.Recent, nil
	}},
	{nightly, "all carts: Redis ↔ MongoDB; all books → what shards know", func(cfg config, e *engines, _ *slog.Logger) (timer.Slots, timer.Run, error) {
		in, err := cfg.Timers.Location()
		if err != nil {
			return nil, nil, err
		}
		at, err := timer.Daily(cfg.Timers.NightlyAt, in)
		return at, e.reconciler.All, err
	}},
}

// The timers that reconcile.
const (
	recent  = "reconcile"
	nightly = "nightly"
)

// runs are runs of the timers that reconcile, on whichever process.
type runs struct{ *timer.Timer }

// Trigger asks for a run of that scope.
func (r runs) Trigger(ctx context.Context, s reconcile.Scope) error {
	return r.Timer.Trigger(ctx, named(s))
}

// Running reports whether one runs, or was asked for and has not begun.
func (r runs) Running(ctx context.Context, s reconcile.Scope) (bool, error) {
	state, err := r.State(ctx, named(s))
	return state.Running || state.Asked > state.Answered, err
}

func named(s reconcile.Scope) string {
	if s == reconcile.All {
		return nightly
	}
	return recent
}

// timed is a timer by its name, and what it does.
type timed struct {
	name, does string
	declare    func(config, *engines, *slog.Logger) (timer.Slots, timer.Run, error)
}

// newTimer returns the timers, which any process may ask to run. Only those that run them themselves have their metrics.
func newTimer(cfg config, e *engines, here bool, reg prometheus.Registerer, log *slog.Logger) (*timer.Timer, error) {
	var jobs []timer.Job
	for _, t := range timers {
		when, run, err := t.declare(cfg, e, log.With("job", t.name))
		if err != nil {
			return nil, fmt.Errorf("timer %s: %w", t.name, err)
		}
		jobs = append(jobs, timer.Job{Name: t.name, When: when, Run: run})
	}
	if !here {
		reg = nil
	}
	return timer.New(timer.Config{Jobs: jobs, Leases: timer.NewLeases(e.redis), Instance: instance(), Log: log, Registerer: reg})
}

// instance tells this process from every other, earlier ones on the same host too.
func instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = clock
	}
	return host + "-" + rand.Text()[:8]
}
