package reminder

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"cartstream/consumers/runner"
)

const (
	// lookEvery is how often deferrals that are due are looked for, pageMost how many are found at once, atOnce how many are
	// tried at the same time.
	lookEvery = 2 * time.Second
	pageMost  = 100
	atOnce    = 4
	// attemptFor bounds an attempt, lease how long whoever tries has for it and for keeping what came of it. Clocks of
	// instances may differ by the time between.
	attemptFor = 30 * time.Second
	lease      = 5 * time.Minute
	// grace is how long an attempt, and keeping what came of it, goes on once Run is to end.
	grace = 5 * time.Second
	// awayFor is how long a deferral waits that couldn't be tried, since the relay or an engine is away.
	awayFor = time.Minute
	// insistEvery is how often is tried to keep that a mail was taken: several times a lookEvery, so that it comes first.
	insistEvery = 500 * time.Millisecond
)

// What becomes of an attempt at a deferred reminder, besides sent.
const (
	dropped      = "dropped" // it is no longer due: its outcome is counted with those of all reminders
	refusedAgain = "refused" // for now
	parked       = "parked"
	undone       = "undone" // since the relay or an engine is away, or the relay refuses everybody: it doesn't count
)

// lot parks records. A runner.Runner is one.
type lot interface {
	GiveUp(ctx context.Context, group string, g runner.GivenUp) error
}

// errNoLot says that Run would lose what it gives up.
var errNoLot = errors.New("reminder: Run needs ParkWith before it")

// ParkWith says where reminders go that come to nothing. It must be called before Run.
func (m *Mailer) ParkWith(l lot) { m.lot = l }

// Pause lets deferred reminders wait, in this process, until Resume. Attempts under way end.
func (m *Mailer) Pause() { m.paused.Store(true) }

// Resume ends a Pause.
func (m *Mailer) Resume() { m.paused.Store(false) }

// Run tries deferred reminders again when they are due, under the same checks as the first time, until ctx ends; then it
// waits for attempts under way, 5 s at most. Any number of processes may: each attempt is one process's, and where that
// dies, another's 5 minutes later. It returns nil, whatever is away; an error without ParkWith alone.
func (m *Mailer) Run(ctx context.Context) error {
	if m.lot == nil {
		return errNoLot
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var complained time.Time
	answered := false
	for {
		due, err := m.look(ctx)
		found := err == nil
		// MongoDB that answers again is first left to those who insist on keeping that a mail was taken.
		if found && answered {
			err = m.attempt(ctx, due)
		}
		answered = found
		if err != nil && ctx.Err() == nil && time.Since(complained) > 30*time.Second {
			complained = time.Now()
			m.log.WarnContext(ctx, "deferred reminders wait", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look returns deferrals that are due.
func (m *Mailer) look(ctx context.Context) ([]deferral, error) {
	due, waiting, err := m.deferrals.due(ctx, time.Now(), pageMost)
	if err == nil {
		m.waiting.Set(float64(waiting))
	}
	return due, err
}

// attempt tries what is due. An error says that the relay or an engine is away: the rest waits.
func (m *Mailer) attempt(ctx context.Context, due []deferral) error {
	var attempts errgroup.Group
	attempts.SetLimit(atOnce)
	var away atomic.Bool
	for _, d := range due {
		if m.paused.Load() || away.Load() || ctx.Err() != nil {
			break
		}
		attempts.Go(func() error {
			err := m.again(ctx, d)
			if err != nil {
				away.Store(true)
			}
			return err
		})
	}
	return attempts.Wait()
}

// again makes one attempt at the deferral, unless another process has it. An error says that the relay or an engine is
// away. What isn't kept of the attempt, since MongoDB is away, is done again when the lease ends.
func (m *Mailer) again(run context.Context, d deferral) error {
	claimed := d
	claimed.Due = time.Now().Add(lease)
	ours, err := m.deferrals.change(run, d, &claimed)
	if err != nil || !ours {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(run), attemptFor)
	defer cancel()
	defer context.AfterFunc(run, func() { time.AfterFunc(grace-answerMost-keepMost, cancel) })()
	outcome, err := m.mail(ctx, d.reminder())
	for err != nil && m.taken(d.reminder()) && pause(run, insistEvery) {
		outcome, err = m.mail(run, d.reminder()) // keeps that it was taken: whoever else has it next is to know
	}
	ctx, done := outlasting(ctx, keepMost)
	defer done()
	now := time.Now()
	var f *failure
	refused := errors.As(err, &f)
	switch {
	case err == nil:
		m.outcomes.WithLabelValues(outcome).Inc()
		if outcome != sent {
			outcome = dropped
		}
		return m.conclude(ctx, claimed, nil, outcome)
	case runner.IsPermanent(err), refused && f.verdict == forGood:
		claimed.Attempts++
		return m.park(ctx, claimed, runner.ClassRejected, err)
	case !refused || f.verdict == away:
		next := claimed
		next.Due = now.Add(awayFor)
		return errors.Join(err, m.conclude(ctx, claimed, &next, undone))
	case m.doubt.everybodys() && now.Sub(d.First) < excused:
		next := claimed
		next.Due = now.Add(claimed.lastWait(f))
		return errors.Join(err, m.conclude(ctx, claimed, &next, undone))
	}
	m.doubt.refused(now)
	next, over := claimed.refused(f, now)
	if over {
		return m.park(ctx, next, runner.ClassExhausted, fmt.Errorf("%d attempts, the last: %w", next.Attempts, err))
	}
	m.log.InfoContext(ctx, "reminder deferred again", "user", d.User, "epoch", d.Epoch, "version", d.Version,
		"attempts", next.Attempts, "due", next.Due, "error", f)
	return m.conclude(ctx, claimed, &next, refusedAgain)
}

// park gives the deferral up, and ends it once its letter is stored.
func (m *Mailer) park(ctx context.Context, d deferral, class string, err error) error {
	if err := m.lot.GiveUp(ctx, Group, runner.GivenUp{
		Record: d.record(), ID: d.Letter, Class: class, Err: fmt.Errorf("remind %s: %w", d.User, err),
		Attempts: int(d.Before + d.Attempts), First: d.First,
	}); err != nil {
		return err
	}
	return m.conclude(ctx, d, nil, parked)
}

// conclude keeps what came of an attempt. Where the deferral is no longer this process's, nothing is to be kept.
func (m *Mailer) conclude(ctx context.Context, d deferral, next *deferral, outcome string) error {
	m.attempts.WithLabelValues(outcome).Inc()
	_, err := m.deferrals.change(ctx, d, next)
	return err
}

// pause reports whether ctx is still there after that long.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
