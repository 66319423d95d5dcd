package parking

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Run brings to the topic what is held elsewhere, at once and then again and again until ctx ends: what an earlier process
// left too. A letter is let go of once Kafka acknowledged it.
func (p *Parker) Run(ctx context.Context) error {
	tick := time.NewTicker(drainEvery)
	defer tick.Stop()
	last := map[string]string{}
	for {
		for _, place := range p.places {
			err := p.drain(ctx, place)
			if ctx.Err() != nil {
				return nil //nolint:nilerr // told to stop
			}
			text := ""
			if err != nil {
				text = err.Error()
			}
			if text != last[place.Name] && text != "" { // an outage says the same for hours
				p.log.WarnContext(ctx, "dead letters wait where they are held", "place", place.Name, "error", err)
			}
			last[place.Name] = text
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// drain moves letters until none is left but those that Kafka refuses, or until Kafka doesn't answer. The error says why
// letters are left.
func (p *Parker) drain(ctx context.Context, place Place) (refused error) {
	moved, left := 0, 0
	defer func() {
		if moved > 0 {
			p.log.InfoContext(ctx, "held dead letters are in the topic", "place", place.Name, "letters", moved)
		}
	}()
	for {
		var letters []*kgo.Record
		err := within(ctx, placeFor, func(ctx context.Context) (err error) {
			letters, err = place.Unwritten(ctx, left, page)
			return err
		})
		if err != nil {
			return fmt.Errorf("read held letters: %w", err)
		}
		p.held.WithLabelValues(place.Name).Set(float64(left + len(letters)))
		if len(letters) == 0 {
			return refused
		}
		done, failed := p.move(ctx, letters)
		if len(done) > 0 {
			moved += len(done)
			if err := within(ctx, placeFor, func(ctx context.Context) error { return place.Written(ctx, done...) }); err != nil {
				return fmt.Errorf("let go of written letters: %w", err)
			}
		}
		if failed != nil && !isRefusal(failed) {
			return failed
		}
		left += len(letters) - len(done)
		refused = cmp.Or(refused, failed)
	}
}

// move writes the letters to the topic, all at once or, where one of them may be to blame, one by one. It returns those
// that were acknowledged, and why the last of the others was not.
func (p *Parker) move(ctx context.Context, letters []*kgo.Record) (done []*kgo.Record, failed error) {
	err := p.write(ctx, letters)
	if err == nil {
		return letters, nil
	}
	if !isRefusal(err) {
		return nil, err
	}
	for _, l := range letters {
		err := p.write(ctx, []*kgo.Record{l})
		if err == nil {
			done = append(done, l)
			continue
		}
		if failed = err; !isRefusal(err) {
			break
		}
	}
	return done, failed
}

// isRefusal reports whether Kafka said no, and would again: the next letter may fare better.
func isRefusal(err error) bool {
	var answer *kerr.Error
	return errors.As(err, &answer) && !answer.Retriable
}
