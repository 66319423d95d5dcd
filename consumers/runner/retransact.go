package runner

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// How a transactor replays a letter: in its own loop, so between two polls, and in a transaction of its own that commits
// the partition's offset once more, where it stands. So the group answers for it: a member that lost the partition is
// refused, and whoever gets the partition meanwhile begins only when the transaction has ended.

// asked is a letter that waits for the loop's turn.
type asked struct {
	letter *Letter
	answer chan error // takes one
}

// replays asks the session under way whether the partition is its own.
func (t *transactor) replays(at place) bool {
	cl := t.client.Load()
	if cl == nil {
		return false
	}
	_, mine := offsetOf(cl, at)
	return mine
}

// offsetOf returns the partition's committed offset, and whether it is this member's and has one.
func offsetOf(cl *kgo.Client, at place) (kgo.EpochOffset, bool) {
	o, ok := cl.CommittedOffsets()[at.topic][at.partition]
	return o, ok && o.Offset >= 0
}

func (t *transactor) replay(ctx context.Context, l *Letter) error {
	if at := (place{l.Record.Topic, l.Record.Partition}); !t.replays(at) {
		return fmt.Errorf("%w: %s/%d is another member's", ErrElsewhere, at.topic, at.partition)
	}
	a := asked{l, make(chan error, 1)}
	select {
	case t.asked <- a:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-a.answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// listen takes a letter while ctx lasts, and then calls found. The channel delivers it, or closes without one.
func (t *transactor) listen(ctx context.Context, found func()) <-chan asked {
	out := make(chan asked, 1)
	go func() {
		defer close(out)
		select {
		case a := <-t.asked:
			out <- a
			found()
		case <-ctx.Done():
		}
	}()
	return out
}

// again replays a letter. Nothing that was polled may be in hand. An error means that the session is of no more use.
func (t *transactor) again(ctx context.Context, s *kgo.GroupTransactSession, a asked) error {
	err, fatal := t.replayIn(ctx, s, a.letter)
	if fatal != nil {
		err = fatal
	}
	a.answer <- err
	return fatal
}

func (t *transactor) replayIn(ctx context.Context, s *kgo.GroupTransactSession, l *Letter) (err, fatal error) {
	at := place{l.Record.Topic, l.Record.Partition}
	hard, kill := withGrace(ctx, stopGrace)
	defer kill()
	got := polled{at: {l.Record}}
	res, failed, fatal := t.handleWithin(hard, ctx, got)
	switch {
	case fatal != nil:
		return nil, fatal
	case failed[at] != nil:
		return failed[at], nil
	case len(res.produce)+len(res.dead) == 0: // the group has nothing to say of it any more
		return nil, nil
	}
	for i := range res.dead {
		res.dead[i].past = l
	}
	if failed := t.shelve(hard, res.dead); failed[at] != nil {
		return failed[at], nil
	}
	return t.publish(hard, s, at, got, res)
}

var errOvertaken = errors.New("a rebalance came in between")

// publish is the transaction of a replay.
func (t *transactor) publish(ctx context.Context, s *kgo.GroupTransactSession, at place, got polled, res result) (err, fatal error) {
	if len(s.Client().UncommittedOffsets()) > 0 { // they would be committed, and are not done
		return errors.New("records are in hand"), nil
	}
	if err := s.Begin(); err != nil {
		return nil, fmt.Errorf("begin transaction: %w", err)
	}
	// Looked at after Begin: what is taken away from now on fails the commit.
	offset, mine := offsetOf(s.Client(), at)
	if !mine {
		return ErrElsewhere, t.end(ctx, s, kgo.TryAbort, nil)
	}
	failed, err := t.produce(ctx, s, got, res)
	if err != nil {
		return nil, err
	}
	if err := failed[at]; err != nil {
		return err, t.end(ctx, s, kgo.TryAbort, nil)
	}
	err = errOvertaken
	fatal = t.end(kgo.PreTxnCommitFnContext(ctx, holding(map[place]kgo.EpochOffset{at: offset}, t.holds.at)), s, kgo.TryCommit, func() {
		err = nil
		for _, f := range res.dead {
			t.parked(f)
			err = &Failed{f.letter(t.name, t.letters), f.err}
		}
	})
	return err, fatal
}

// holding adds the offsets to what a transaction commits, but none behind a record that is held.
func holding(offsets map[place]kgo.EpochOffset, h held) func(*kmsg.TxnOffsetCommitRequest) error {
	return func(req *kmsg.TxnOffsetCommitRequest) error {
		for _, topic := range req.Topics {
			for _, p := range topic.Partitions {
				delete(offsets, place{topic.Topic, p.Partition})
			}
		}
		for at, offset := range offsets {
			partition := kmsg.NewTxnOffsetCommitRequestTopicPartition()
			partition.Partition, partition.Offset, partition.LeaderEpoch = at.partition, offset.Offset, offset.Epoch
			partition.Metadata = kmsg.StringPtr(req.MemberID)
			topic := kmsg.NewTxnOffsetCommitRequestTopic()
			topic.Topic, topic.Partitions = at.topic, append(topic.Partitions, partition)
			req.Topics = append(req.Topics, topic)
		}
		return h.back(req)
	}
}
