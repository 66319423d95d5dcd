package deadletter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"cartstream/consumers/runner"
	"cartstream/schemas"
)

const (
	// replayFor bounds one replay, which goes on when whoever asked leaves.
	replayFor = 45 * time.Second
	// answerWithin is how long a call waits for another process that does the replay.
	answerWithin = 5 * time.Second
	// lookEvery is how often a waiting call, and that process, look.
	lookEvery = 200 * time.Millisecond
)

// replay gives the letter's record to its group once more and returns the letter as it then is: replayed, or parked
// again. Where time has overtaken it, nothing is replayed: a parked letter is superseded then, one that had ended stays as
// it is. Where another process has to do it, that is waited for; after that long the letter still has its Request, and the
// replay follows. The error is ErrNotFound, errForeign, or says that an engine is away; then the letter is as it was.
func (l *Lot) replay(ctx context.Context, id, by string, wait time.Duration) (*letter, error) {
	found, err := l.index.find(ctx, id)
	if err != nil {
		return nil, err
	}
	if _, fault := runner.ReadLetter(found.record()); !l.own(found) || fault != nil {
		return nil, fmt.Errorf("replay letter %s of %q: %w", id, found.Group, errForeign)
	}
	entry, err := l.index.audit.begin(ctx, id, by, actionReplay, "")
	if err != nil {
		return nil, err
	}
	now, err := l.attempt(ctx, found, entry)
	if errors.Is(err, runner.ErrElsewhere) {
		return l.request(ctx, id, by, entry, wait)
	}
	return now, err
}

// attempt replays the letter in this process, unless that would change nothing.
func (l *Lot) attempt(ctx context.Context, one *letter, entry string) (*letter, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), replayFor)
	defer cancel()
	if l.verdictOf(ctx, one)[one.ID] == Outdated {
		return l.overtaken(ctx, one, entry)
	}
	err := l.replayer.Replay(ctx, one.record())
	var failed *runner.Failed
	outcome := string(Replayed)
	switch {
	case err == nil:
	case errors.As(err, &failed):
		outcome = "failed: " + text(failed.Err.Error(), longestText)
	case errors.Is(err, runner.ErrElsewhere):
		return nil, err
	default:
		l.resolved.WithLabelValues("undone").Inc()
		return nil, errors.Join(unavailable("replay letter "+one.ID, err), l.index.audit.end(ctx, entry, "undone: "+text(err.Error(), longestText)))
	}
	// The decision is noted before the index is changed: an index that is built anew meanwhile takes it from there.
	if err := l.index.audit.end(ctx, entry, outcome); err != nil {
		return nil, err
	}
	now, err := l.index.change(ctx, one.ID, func(now *letter) bool {
		now.Request = nil
		if failed != nil {
			now.fold(parse(failed.Letter))
		} else {
			now.resolve(Replayed, schemas.At(time.Now()), "")
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	if failed != nil {
		l.resolved.WithLabelValues("failed").Inc()
	} else {
		l.resolved.WithLabelValues(string(Replayed)).Inc()
	}
	l.log.Info("dead letter replayed", "letter", one.ID, "group", one.Group, "user", one.UserID, "topic", one.Topic,
		"partition", one.Partition, "offset", one.Offset, "done", failed == nil)
	return now, nil
}

// overtaken ends the replay of a letter whose verdict is Outdated.
func (l *Lot) overtaken(ctx context.Context, one *letter, entry string) (*letter, error) {
	if err := l.index.audit.end(ctx, entry, string(Superseded)); err != nil {
		return nil, err
	}
	_, err := l.index.change(ctx, one.ID, func(now *letter) bool {
		waited := now.Request != nil
		now.Request = nil
		return waited
	})
	if err != nil {
		return nil, err
	}
	if err := l.supersede(ctx, one); err != nil {
		return nil, err
	}
	return l.index.read(ctx, one.ID, withoutValue)
}

// request leaves the replay to the process that can do it, and waits for it.
func (l *Lot) request(ctx context.Context, id, by, entry string, wait time.Duration) (*letter, error) {
	now := schemas.At(time.Now())
	asked, err := l.index.change(ctx, id, func(one *letter) bool {
		one.Request = &request{By: by, At: now, Entry: entry}
		return true
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return asked, nil
		}
		found, err := l.index.read(ctx, id, withoutValue)
		if err != nil {
			return asked, nil //nolint:nilerr // it was accepted, and will be done
		}
		if found.Request == nil {
			return found, nil
		}
	}
}

// bulk is what a replay of many letters asks for.
type bulk struct {
	filter Filter
	dryRun bool
	rate   int // letters a second
	by     string
}

// Summary is what a replay by filter came to. Letters of foreign groups count as matched alone.
type Summary struct {
	Matched  int             `json:"matched"`
	Replayed int             `json:"replayed"` // done by their groups; those that failed again are parked again
	Verdicts map[Verdict]int `json:"verdicts"` // as they were found, before the replay
}

// pageOfReplays is how many letters are judged at once.
const pageOfReplays = 100

// replayAll replays the parked letters that match, one after the other. Those that are superseded are resolved instead, and
// those that can't be decoded are left as they are: a replay would do the same, and cost an attempt. It ends with ctx, and
// at once with an error where an engine is away; what was replayed until then stays so.
func (l *Lot) replayAll(ctx context.Context, b bulk) (Summary, error) {
	sum := Summary{Verdicts: map[Verdict]int{}}
	b.filter.Status = Parked
	turn := turn{pace: rate.NewLimiter(rate.Limit(b.rate), 1), wait: answerWithin, by: b.by}
	for after, more := "", true; more; {
		about := map[string]subject{}
		var letters []*letter
		var err error
		letters, more, err = l.index.next(ctx, b.filter, after, pageOfReplays, func(one *letter) { about[one.ID] = subjectOf(one) })
		if err != nil {
			return sum, err
		}
		verdicts := l.verdicts(ctx, letters, about)
		for _, one := range letters {
			after = one.ID
			sum.Matched++
			verdict, known := verdicts[one.ID]
			if known {
				sum.Verdicts[verdict]++
			}
			if b.dryRun || !l.own(one) || verdict == Unreadable {
				continue
			}
			done, err := l.replayNext(ctx, one, verdict, &turn)
			if err != nil {
				return sum, err
			}
			if done {
				sum.Replayed++
			}
		}
	}
	return sum, nil
}

// turn is how the letters of a replay by filter follow one another.
type turn struct {
	pace *rate.Limiter
	wait time.Duration // for another process; none once one was waited for in vain
	by   string
}

func (l *Lot) replayNext(ctx context.Context, one *letter, verdict Verdict, t *turn) (done bool, err error) {
	if verdict == Outdated {
		return false, l.supersede(ctx, one)
	}
	if err := t.pace.Wait(ctx); err != nil {
		return false, fmt.Errorf("replay by filter: %w", err)
	}
	now, err := l.replay(ctx, one.ID, t.by, t.wait)
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, errForeign):
		return false, nil
	case err != nil:
		return false, err
	case now.Request != nil:
		t.wait = 0
	}
	return now.Status == Replayed, nil
}
