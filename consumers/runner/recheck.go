package runner

import (
	"context"
	"fmt"
	"maps"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recheck handles held records again where they are due. What they come to is a transaction of its own that commits the
// partitions' offsets once more, as a replay does. What fails comes again. An error means that the session is of no more
// use.
func (t *transactor) recheck(ctx context.Context, s *kgo.GroupTransactSession) error {
	again := t.holds.due(s.Client(), t.batch)
	if len(again) == 0 {
		return nil
	}
	hard, kill := withGrace(ctx, stopGrace)
	defer kill()
	res, failed, err := t.handleWithin(hard, ctx, again)
	if err != nil {
		return err
	}
	if maps.DeleteFunc(again, func(at place, _ []*kgo.Record) bool { return failed[at] != nil }); len(again) == 0 {
		return nil
	}
	next := t.holds.after(again, res)
	if len(res.produce)+len(res.dead) == 0 {
		t.holds.committed(next) // the offset follows with the partition's next record
		return nil
	}
	if len(t.shelve(hard, res.dead)) > 0 {
		return nil
	}
	return t.release(hard, s, again, res, next)
}

// release is the transaction of a recheck.
func (t *transactor) release(ctx context.Context, s *kgo.GroupTransactSession, again polled, res result, next held) error {
	if err := s.Begin(); err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	// Looked at after Begin: what is taken away from now on fails the commit.
	offsets := map[place]kgo.EpochOffset{}
	for at := range again {
		offset, mine := offsetOf(s.Client(), at)
		if !mine {
			return t.end(ctx, s, kgo.TryAbort, nil)
		}
		offsets[at] = offset
	}
	failed, err := t.produce(ctx, s, again, res)
	if err != nil {
		return err
	}
	if len(failed) > 0 {
		return t.end(ctx, s, kgo.TryAbort, nil)
	}
	return t.end(kgo.PreTxnCommitFnContext(ctx, holding(offsets, next)), s, kgo.TryCommit, func() {
		t.holds.committed(next)
		for _, f := range res.dead {
			t.parked(f)
		}
	})
}
