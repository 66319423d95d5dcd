package timer

import (
	"fmt"
	"time"
)

// Slots are the moments at which a job is due. They depend on the clock alone, so that every instance knows the same ones.
type Slots interface {
	// Latest returns the newest slot that is not after now.
	Latest(now time.Time) time.Time
	// After returns the slot that follows one.
	After(slot time.Time) time.Time
	// check says what is wrong with the rule.
	check() error
	// apart is how long there is between two slots, about.
	apart() time.Duration
}

// Every is a slot each d, aligned to the clock: every five minutes means at :00, :05, :10 and so on, in UTC.
func Every(d time.Duration) Slots { return every(d) }

type every time.Duration

// shortest is how close slots may be. Each costs a look at Redis.
const shortest = 100 * time.Millisecond

func (e every) Latest(now time.Time) time.Time { return now.Truncate(time.Duration(e)) }
func (e every) After(slot time.Time) time.Time { return slot.Add(time.Duration(e)) }
func (e every) apart() time.Duration           { return time.Duration(e) }

func (e every) check() error {
	if time.Duration(e) < shortest {
		return fmt.Errorf("every %s: %s at least", time.Duration(e), shortest)
	}
	return nil
}

// Daily is one slot on each day of a place, at a time such as "03:00". In the night in which clocks go forward over it, it is as
// long after midnight as always; where clocks go back and show it twice, the first counts.
func Daily(at string, in *time.Location) (Slots, error) {
	t, err := time.Parse("15:04", at)
	if err != nil || len(at) != len("15:04") {
		return nil, fmt.Errorf("%q is no time of day such as 03:00", at)
	}
	return daily{t.Hour(), t.Minute(), in}, nil
}

type daily struct {
	hour, minute int
	in           *time.Location
}

// on returns the slot of the day that lies so many days after t's. time.Date doesn't say which of two moments it means where
// clocks change, and in some zones means one of the day before.
func (d daily) on(t time.Time, days int) time.Time {
	year, month, day := t.In(d.in).Date()
	shown := time.Date(year, month, day+days, d.hour, d.minute, 0, 0, time.UTC)
	offset := func(days int) time.Duration {
		_, seconds := time.Date(shown.Year(), shown.Month(), shown.Day()+days, 12, 0, 0, 0, d.in).Zone()
		return time.Duration(seconds) * time.Second
	}
	before, after := shown.Add(-offset(-1)).In(d.in), shown.Add(-offset(1)).In(d.in)
	early, late := before, after
	if late.Before(early) {
		early, late = late, early
	}
	if early.Hour() == d.hour && early.Minute() == d.minute {
		return early
	}
	return late
}

func (d daily) Latest(now time.Time) time.Time {
	if today := d.on(now, 0); !today.After(now) {
		return today
	}
	return d.on(now, -1)
}

func (d daily) After(slot time.Time) time.Time {
	if next := d.on(slot, 0); next.After(slot) { // clocks moved the slot over midnight
		return next
	}
	return d.on(slot, 1)
}

func (d daily) apart() time.Duration { return 24 * time.Hour }
func (d daily) check() error         { return nil }
