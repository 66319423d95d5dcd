package main

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	_ "time/tzdata" // TIMEZONE must mean something in an image without zones, too

	"github.com/prometheus/client_golang/prometheus"

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
		when, run, err := t.declare(cfg, e, log.With("timer", t.name))
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
