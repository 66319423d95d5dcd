package env_test

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // wherever this test runs

	"cartstream/schemas/env"
)

type clocked struct {
	Reminders env.Reminders
	Timers    env.Timers
}

func TestTimersHaveTheDefaultsOfTheContract(t *testing.T) {
	var c clocked
	if err := env.Parse(&c); err != nil {
		t.Fatal(err)
	}
	in, err := c.Timers.Location()
	if err != nil || in != time.UTC || c.Timers.ReconcileEvery != 5*time.Minute || c.Timers.NightlyAt != "03:00" || c.Reminders.After != 7*24*time.Hour {
		t.Errorf("%+v, %v, %v", c, in, err)
	}
}

func TestWhatNoClockShowsIsAFault(t *testing.T) {
	for claim, c := range map[string]struct {
		name, value string
		fault       bool
	}{
		"carts left alone for an hour":    {"REMIND_AFTER", "1h", false},
		"for a second":                    {"REMIND_AFTER", "1s", false},
		"for less":                        {"REMIND_AFTER", "999ms", true},
		"for no time at all":              {"REMIND_AFTER", "0s", true},
		"for a number of nothing":         {"REMIND_AFTER", "7", true},
		"carts compared each second":      {"RECONCILE_EVERY", "1s", false},
		"more often":                      {"RECONCILE_EVERY", "10ms", true},
		"backwards":                       {"RECONCILE_EVERY", "-5m", true},
		"a night that begins at midnight": {"NIGHTLY_AT", "00:00", false},
		"one that ends with the day":      {"NIGHTLY_AT", "23:59", false},
		"an hour that no day has":         {"NIGHTLY_AT", "24:00", true},
		"one digit":                       {"NIGHTLY_AT", "3:00", true},
		"seconds":                         {"NIGHTLY_AT", "03:00:00", true},
		"a place":                         {"TIMEZONE", "Europe/Berlin", false},
		"a place that isn't":              {"TIMEZONE", "Europe/Bielefeld", true},
		"wherever the machine may be":     {"TIMEZONE", "Local", true},
		"a path":                          {"TIMEZONE", "../../etc/passwd", true},
	} {
		t.Run(claim, func(t *testing.T) {
			t.Setenv(c.name, c.value)
			err := env.Parse(&clocked{})
			if (err != nil) != c.fault || c.fault && !strings.Contains(err.Error(), c.name) {
				t.Errorf("%s=%s: %v", c.name, c.value, err)
			}
		})
	}
}

func TestEveryFaultOfTimersIsToldAtOnce(t *testing.T) {
	names := []string{"REMIND_AFTER", "RECONCILE_EVERY", "NIGHTLY_AT", "TIMEZONE"}
	for _, name := range names {
		t.Setenv(name, "never")
	}
	err := env.Parse(&clocked{})
	for _, name := range names {
		if err == nil || strings.Count(err.Error(), name) != 1 {
			t.Errorf("%s isn't named once in %v", name, err)
		}
	}
}
