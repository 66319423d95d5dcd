package reconcile

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// suspectsEach is how often it is looked who is due; suspectLapse is how long one counts as such without being named again,
	// and the longest wait between two looks at its cart.
	suspectsEach = time.Second
	suspectLapse = time.Minute
	// suspectsMost bounds what is remembered; those beyond it are the nightly run's, unless they are named again later.
	suspectsMost = 10_000
)

// suspects are carts of which somebody sees that Redis lacks a change that Kafka has.
type suspects struct {
	mu sync.Mutex
	by map[string]suspicion
}

type suspicion struct {
	last, due time.Time
	wait      time.Duration // once it was compared
}

// Suspect names a user whose cart in Redis was just seen to lack a change that Kafka has. It is compared LookAgainAfter
// later, then after twice as long, and so on up to a minute, while it is named at least each minute.
func (r *Reconciler) Suspect(user string) { r.suspects.name(user, time.Now(), r.LookAgainAfter) }

func (s *suspects) name(user string, now time.Time, after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.by[user]
	switch {
	case !ok && len(s.by) >= suspectsMost:
		return
	case !ok && s.by == nil:
		s.by = map[string]suspicion{}
	}
	if !ok {
		known.due, known.wait = now.Add(after), 2*after
	}
	known.last = now
	s.by[user] = known
}

// take returns who is to be compared now.
func (s *suspects) take(now time.Time) (users []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for user, known := range s.by {
		switch {
		case now.Sub(known.last) > suspectLapse:
			delete(s.by, user)
		case now.Before(known.due) || len(users) == perPage:
		default:
			users = append(users, user)
			known.due, known.wait = now.Add(known.wait), min(2*known.wait, suspectLapse)
			s.by[user] = known
		}
	}
	return users
}

// Run compares suspects until ctx ends.
func (r *Reconciler) Run(ctx context.Context) error {
	tick := time.NewTicker(suspectsEach)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if users := r.suspects.take(time.Now()); len(users) > 0 {
			if err := r.compareSuspects(ctx, users); err != nil && ctx.Err() == nil {
				r.Log.Warn("carts that lack what kafka has could not be compared yet", "carts", len(users), "error", err)
			}
		}
	}
}

// compareSuspects has Redis take the documents that are ahead of it: persist stored what Redis lacks. Any other difference is
// left to persist, which may be on its way there, and to the runs.
func (r *Reconciler) compareSuspects(ctx context.Context, users []string) error {
	failed := map[string]error{}
	found, err := r.look(ctx, users, failed)
	if err != nil {
		return err
	}
	var healing errgroup.Group
	healing.SetLimit(questionsAtOnce)
	for _, p := range found {
		if d := p.drift(); d == Ahead || d == Orphan {
			healing.Go(func() error { return r.heal(ctx, &figures{}, p) })
		}
	}
	err = healing.Wait()
	for _, away := range failed {
		return away
	}
	return err
}
