package timer_test

import (
	"testing"
	"time"

	"cartstream/consumers/timer"
)

func location(t *testing.T, name string) *time.Location {
	t.Helper()
	l, err := time.LoadLocation(name)
	must(t, err)
	return l
}

func TestTheLatestSlot(t *testing.T) {
	daily := func(at, in string) timer.Slots {
		s, err := timer.Daily(at, location(t, in))
		must(t, err)
		return s
	}
	for claim, c := range map[string]struct {
		slots             timer.Slots
		now, latest, next string
	}{
		"of every five minutes is aligned to the clock": {
			timer.Every(5 * time.Minute), "2026-11-22T10:07:31Z", "2026-11-22T10:05:00Z", "2026-11-22T10:10:00Z"},
		"is due the moment that it begins": {
			timer.Every(5 * time.Minute), "2026-11-22T10:05:00Z", "2026-11-22T10:05:00Z", "2026-11-22T10:10:00Z"},
		"of a day is today's once its time has come": {
			daily("03:00", "UTC"), "2026-11-22T03:00:00Z", "2026-11-22T03:00:00Z", "2026-11-23T03:00:00Z"},
		"of a day is yesterday's before": {
			daily("03:00", "UTC"), "2026-11-22T02:59:59Z", "2026-11-21T03:00:00Z", "2026-11-22T03:00:00Z"},
		"is at that time of its place": {
			daily("03:00", "Europe/Berlin"), "2026-07-01T12:00:00Z", "2026-07-01T01:00:00Z", "2026-07-02T01:00:00Z"},
		"belongs to the place's day, not to that of UTC": {
			daily("23:30", "America/New_York"), "2026-11-22T04:31:00Z", "2026-11-22T04:30:00Z", "2026-11-23T04:30:00Z"},
		"stays at its time when clocks went forward": {
			daily("03:00", "Europe/Berlin"), "2026-03-29T12:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"},
		"comes once in the night whose clocks leave its time out": {
			daily("02:30", "Europe/Berlin"), "2026-03-29T12:00:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"},
		"is the first where clocks show its time twice": {
			daily("02:30", "Europe/Berlin"), "2026-10-25T01:45:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		"comes once where midnight is left out": {
			daily("00:00", "America/Asuncion"), "2023-10-01T12:00:00Z", "2023-10-01T04:00:00Z", "2023-10-02T03:00:00Z"},
	} {
		t.Run(claim, func(t *testing.T) {
			now, err := time.Parse(time.RFC3339, c.now)
			must(t, err)
			latest := c.slots.Latest(now)
			if got := latest.UTC().Format(time.RFC3339); got != c.latest {
				t.Errorf("latest %s, want %s", got, c.latest)
			}
			if got := c.slots.After(latest).UTC().Format(time.RFC3339); got != c.next {
				t.Errorf("next %s, want %s", got, c.next)
			}
		})
	}
}

// Whenever one looks, in whatever zone: each day has one slot, and what follows the latest slot is still to come.
func TestADayHasOneSlot(t *testing.T) {
	for _, zone := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Africa/Cairo"} {
		for _, at := range []string{"00:00", "00:30", "02:00", "02:30", "03:00", "23:59"} {
			in := location(t, zone)
			slots, err := timer.Daily(at, in)
			must(t, err)
			seen := map[time.Time]bool{}
			begin := time.Date(2018, 1, 1, 12, 0, 0, 0, in)
			for now := begin; now.Before(begin.AddDate(1, 0, 0)); now = now.Add(97 * time.Minute) {
				latest := slots.Latest(now)
				if latest.After(now) || !slots.After(latest).After(now) {
					t.Fatalf("%s in %s at %s: latest %s, next %s", at, zone, now, latest, slots.After(latest))
				}
				seen[latest] = true
			}
			if len(seen) != 366 { // a year from noon to noon, and the slot before it
				t.Errorf("%s in %s: %d slots in 365 days", at, zone, len(seen))
			}
		}
	}
}

func TestWhatIsWrongWithJobs(t *testing.T) {
	for claim, at := range map[string]string{
		"an hour that no day has": "24:00", "a minute that no hour has": "03:60", "no colon": "0300", "seconds": "03:00:00",
		"one digit": "3:00", "nothing": "", "words": "noon",
	} {
		t.Run(claim, func(t *testing.T) {
			if _, err := timer.Daily(at, time.UTC); err == nil {
				t.Errorf("%q is a time of day", at)
			}
		})
	}
}
