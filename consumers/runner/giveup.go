package runner

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// GivenUp is a record that a Handle took over, to bring it to its end later by itself, and that came to nothing.
type GivenUp struct {
	// Record is what Handle was given: its place, key, value and headers.
	Record *kgo.Record
	// ID names the letter: Replaying's, where Handle was given the record of a letter, else LetterID.
	ID string
	// Class is one of the classes of a dead letter, Err why, without anything that mustn't be told.
	Class string
	Err   error
	// Attempts is how often it was tried, those of the letter that was replayed included, and First when it failed first.
	Attempts int
	First    time.Time
}

// GiveUp parks a record that the group's Handle returned nil for, since it had taken the record over: in the same places,
// counted and logged like one that Handle refuses. It returns once the letter is stored; after an error it is to be called
// again, and a letter that is stored twice has the same id. The error is ErrUnknownConsumer where the group doesn't run here.
func (r *Runner) GiveUp(ctx context.Context, group string, g GivenUp) error {
	p, ok := r.parts[group]
	if !ok {
		return fmt.Errorf("%w: %s", ErrUnknownConsumer, group)
	}
	f := failure{record: g.Record, class: g.Class, err: g.Err, attempts: g.Attempts, past: &Letter{ID: g.ID, FirstFailed: g.First}}
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	if err := p.parker.Park(ctx, []*kgo.Record{f.letter(group, p.letters)}); err != nil {
		return fmt.Errorf("park what was given up: %w", err)
	}
	p.parked(f)
	return nil
}

// ofReplay is the key of a replay's letter in its ctx.
type ofReplay struct{}

// Replaying returns the letter whose record a Consumer's Handle is given in this ctx, nil where the record comes from its
// topic. A Transactional's Handle isn't told.
func Replaying(ctx context.Context) *Letter {
	l, _ := ctx.Value(ofReplay{}).(*Letter)
	return l
}
