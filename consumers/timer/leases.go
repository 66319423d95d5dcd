package timer

import (
	"context"
	"errors"
	"time"
)

// ErrLost says that a run no longer has its job's lease: it was paused for too long, or Redis lost the lease. Another
// instance may be running the job. It is the cause of the run's ended ctx.
var ErrLost = errors.New("the job's lease is lost")

// Leases is where all instances agree on who runs a job, and on which of its slots are done.
type Leases interface {
	// State returns what is known of a job, and the time.
	State(ctx context.Context, job string) (State, error)
	// Take begins a run: it takes the lease for ttl, in the claim's name. It reports false where another run has the
	// lease or rests, or where neither the claim's slot nor an asked-for run is left to do. asked is the number of runs asked for
	// so far, all of which this one answers.
	Take(ctx context.Context, job string, c Claim, ttl time.Duration) (asked int64, took bool, err error)
	// Renew keeps the lease for another ttl. ErrLost says that the token isn't its holder's.
	Renew(ctx context.Context, job, token string, ttl time.Duration) error
	// Settle ends a run and its lease. ErrLost says that the token isn't the holder's; nothing was recorded then. The
	// same call may be repeated.
	Settle(ctx context.Context, job, token string, o Outcome) error
	// Ask asks for a run of the job, besides its slots.
	Ask(ctx context.Context, job string) error
}

// State is what all instances know of a job.
type State struct {
	// Running says that some instance has the job's lease.
	Running bool
	// Instance began the newest run, at Started.
	Instance string
	Started  time.Time
	// Slot is the newest that is done; zero where none ever was.
	Slot time.Time
	// Finished is when a run last ended without an error, Took how long that one took and Items what it counted.
	Finished time.Time
	Took     time.Duration
	Items    int64
	// Failed is when a run last failed, Failure what it failed for.
	Failed  time.Time
	Failure string
	// Asked is how many runs were asked for, Answered how many of them are done.
	Asked, Answered int64
	// Now is the time by which slots are due: the same for all instances.
	Now time.Time
}

// Claim is a run that wants to begin.
type Claim struct {
	// Token is this run's alone.
	Token    string
	Instance string
	Slot     time.Time
	Now      time.Time
}

// Outcome is what a run came to.
type Outcome struct {
	Kind Kind
	At   time.Time

	// Of a Done run: its slot, the asked-for runs that it answers, how long it took and what it counted.
	Slot  time.Time
	Asked int64
	Took  time.Duration
	Items int64

	// Of a Failed run: why, and how long the job rests.
	Failure string
	Rest    time.Duration
}

// Kind tells outcomes apart.
type Kind string

const (
	// Done runs record their slot.
	Done Kind = "done"
	// Failed runs leave their slot undone, for any instance to try again after a rest.
	Failed Kind = "failed"
	// Released runs ended because their process did. Any instance may begin another at once.
	Released Kind = "released"
)
