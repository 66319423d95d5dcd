package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrElsewhere says that a letter can't be replayed by this process, now: its group doesn't run here, or it writes in
// transactions and the record's partition is another member's. Nothing was done.
var ErrElsewhere = errors.New("not replayed by this process")

// Failed says that a replayed record failed again. Its letter is stored once more, with all attempts so far.
type Failed struct {
	Letter *kgo.Record
	Err    error
}

func (e *Failed) Error() string { return "failed again: " + e.Err.Error() }

// Unwrap returns what it failed for.
func (e *Failed) Unwrap() error { return e.Err }

// replayPatience bounds a replay: the attempts of one record, and what they wait for.
const replayPatience = 30 * time.Second

// Replay gives the record of a dead letter, as the topic for dead letters holds it, to its own group once more, and to no
// other: by the group's Decode and Handle, in this process, under the same three outcomes. It returns nil when the record
// is done, *Failed when it was given up again, ErrElsewhere, or any other error where that can't be said, since an engine
// is away; it may then be replayed again, as Handle is idempotent.
//
// A Consumer's Handle may run beside the group's own batches, in any member: it must decide by the record's version, not
// by its turn. A Transactional is replayed by the member that owns the record's partition alone, between two of its polls,
// in a transaction that the group fences like any other: it can't overtake or follow what the owner publishes.
func (r *Runner) Replay(ctx context.Context, letter *kgo.Record) error {
	l, err := ReadLetter(letter)
	if err != nil {
		return fmt.Errorf("read letter: %w", err)
	}
	loop := r.loops[l.Group]
	if loop == nil {
		return fmt.Errorf("%w: consumer %s doesn't run here", ErrElsewhere, l.Group)
	}
	ctx, cancel := context.WithTimeout(ctx, replayPatience)
	defer cancel()
	return loop.replay(context.WithValue(ctx, ofReplay{}, &l), &l)
}

// Replays reports whether Replay would not return ErrElsewhere, as things stand.
func (r *Runner) Replays(group, topic string, partition int32) bool {
	loop := r.loops[group]
	return loop != nil && loop.replays(place{topic, partition})
}

func (g *group) replays(place) bool { return true }

func (g *group) replay(ctx context.Context, l *Letter) error {
	res, err := g.process(ctx, []*kgo.Record{l.Record}, once(ctx))
	if err != nil || len(res.dead) == 0 {
		return err
	}
	f := res.dead[0]
	f.past = l
	again := f.letter(g.name, g.letters)
	if err := g.parker.Park(ctx, []*kgo.Record{again}); err != nil {
		return err
	}
	g.parked(f)
	return &Failed{again, f.err}
}

// once waits for a refused record's attempts, and for no engine.
func once(ctx context.Context) pacing {
	return pacing{
		down:    func(_ int, err error) error { return err },
		refused: func(try int) error { return sleep(ctx, backoff(refusedFirst, refusedLast, try)) },
	}
}
