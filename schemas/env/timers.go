package env

import (
	"fmt"
	"time"
)

// shortest is how close to each other what happens by the clock may be.
const shortest = time.Second

// Reminders says when a cart counts as left alone. Both binaries have to be told the same.
type Reminders struct {
	After time.Duration `env:"REMIND_AFTER" envDefault:"168h" help:"how long a cart with lines is left alone before its user is reminded"`
}

func (r *Reminders) check() []error {
	if r.After < shortest {
		return []error{fmt.Errorf("REMIND_AFTER is %s: at least %s", r.After, shortest)}
	}
	return nil
}

// Timers says when what happens by the clock happens.
type Timers struct {
	ReconcileEvery time.Duration `env:"RECONCILE_EVERY" envDefault:"5m" help:"how often carts that changed are compared between Redis and MongoDB"`
	NightlyAt      string        `env:"NIGHTLY_AT" envDefault:"03:00" help:"when each night all carts are compared, as in 03:00"`
	Zone           string        `env:"TIMEZONE" envDefault:"UTC" help:"whose clock NIGHTLY_AT means, as in Europe/Berlin"`
}

func (t *Timers) check() []error {
	var faults []error
	if t.ReconcileEvery < shortest {
		faults = append(faults, fmt.Errorf("RECONCILE_EVERY is %s: at least %s", t.ReconcileEvery, shortest))
	}
	if _, err := time.Parse("15:04", t.NightlyAt); err != nil || len(t.NightlyAt) != len("15:04") {
		faults = append(faults, fmt.Errorf("NIGHTLY_AT is %q: a time of day, as in 03:00", t.NightlyAt))
	}
	if _, err := t.Location(); err != nil {
		faults = append(faults, err)
	}
	return faults
}

// Location returns whose clock NightlyAt means.
func (t *Timers) Location() (*time.Location, error) {
	in, err := time.LoadLocation(t.Zone)
	if err != nil || t.Zone == "" || t.Zone == "Local" { // the machine's own differs from instance to instance
		return nil, fmt.Errorf("TIMEZONE is %q: a name such as UTC or Europe/Berlin", t.Zone)
	}
	return in, nil
}
