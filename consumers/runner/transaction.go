package runner

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// transact produces the records and the dead letters and commits them with the offsets, or none of it.
func (t *transactor) transact(ctx context.Context, s *kgo.GroupTransactSession, got polled, res result, next held) error {
	if err := s.Begin(); err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	failed, err := t.produce(ctx, s, got, res)
	if err != nil {
		return err
	}
	if len(failed) > 0 {
		t.setAside(s.Client(), failed)
		return t.end(ctx, s, kgo.TryAbort, nil)
	}
	return t.end(kgo.PreTxnCommitFnContext(ctx, next.back), s, kgo.TryCommit, func() {
		t.aside.done(got)
		t.holds.committed(next)
		for _, records := range got {
			t.meter.records.Add(float64(len(records)))
		}
		t.meter.batches.Inc()
		for _, f := range res.dead {
			t.parked(f)
		}
	})
}

// produce returns the partitions that must be tried again: that of a dead letter which Kafka refuses, or all. The error
// is that a new client is needed: Kafka doesn't answer, and what is on its way can't be called back otherwise, or a topic was
// deleted and made anew. Where letters alone failed, the next ones are the Parker's for a while.
func (t *transactor) produce(ctx context.Context, s *kgo.GroupTransactSession, got polled, res result) (map[place]error, error) {
	from := make(map[*kgo.Record]place, len(res.dead))
	out := res.produce
	for _, f := range res.dead {
		if f.stored {
			continue
		}
		l := f.letter(t.name, t.letters)
		from[l] = place{f.record.Topic, f.record.Partition}
		out = append(out, l)
	}
	hard := ctx
	ctx, cancel := context.WithTimeout(ctx, produceTimeout)
	defer cancel()
	acks := make(chan kgo.ProduceResult, len(out))
	for _, r := range out {
		s.Produce(ctx, r, func(r *kgo.Record, err error) { acks <- kgo.ProduceResult{Record: r, Err: err} })
	}
	failed := map[place]error{}
	others := len(res.produce) // not acknowledged yet
	for range out {
		select {
		case ack := <-acks:
			if errors.Is(ack.Err, kerr.UnknownTopicID) {
				return nil, errors.Join(fmt.Errorf("produce to %s: %w", ack.Record.Topic, ack.Err), t.end(hard, s, kgo.TryAbort, nil))
			}
			if _, letter := from[ack.Record]; !letter && ack.Err == nil {
				others--
			}
			t.refused(failed, from, got, ack)
		case <-ctx.Done():
			t.avoidTopic(others == 0)
			return nil, fmt.Errorf("produce: %w", ctx.Err())
		}
	}
	t.avoidTopic(others == 0 && len(failed) > 0)
	return failed, nil
}

// refused notes which partitions a record that was not produced came from: any, but for a dead letter.
func (t *transactor) refused(failed map[place]error, from map[*kgo.Record]place, got polled, ack kgo.ProduceResult) {
	if ack.Err == nil {
		return
	}
	if at, ok := from[ack.Record]; ok {
		failed[at] = fmt.Errorf("write dead letter: %w", ack.Err)
		return
	}
	for at := range got {
		failed[at] = fmt.Errorf("produce to %s: %w", ack.Record.Topic, ack.Err)
	}
}

// end ends the transaction, or, where none was begun, just puts the records back. A transaction that was not committed
// puts its records back too: a rebalance came in between, and they are somebody's.
func (t *transactor) end(ctx context.Context, s *kgo.GroupTransactSession, how kgo.TransactionEndTry, committed func()) error {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	ok, err := s.End(ctx, how)
	if err != nil {
		return fmt.Errorf("end transaction: %w", err)
	}
	if ok && committed != nil {
		committed()
	}
	return nil
}
