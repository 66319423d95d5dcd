package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// transactor runs a Transactional: poll, handle, and then one transaction. Nothing is open while it waits for an engine.
type transactor struct {
	parts
	topics  []string
	batch   int
	process process
	heal    func(context.Context, *kgo.Record) ([]*kgo.Record, error)
	id      string
	aside   aside
	holds   holds
	avoid   time.Time // until then letters are the Parker's: the topic didn't take one
	asked   chan asked
	client  atomic.Pointer[kgo.Client] // of the session under way
}

// polled are the records of one poll, by partition.
type polled map[place][]*kgo.Record

func (t *transactor) lag() float64 { return age(t.aside.oldest()) }

func (t *transactor) run(ctx context.Context) error { return t.sessions(ctx, t.session) }

func (t *transactor) session(ctx context.Context) error {
	s, err := kgo.NewGroupTransactSession(t.options(t.topics,
		kgo.TransactionalID(t.id),
		kgo.TransactionTimeout(transactionTimeout),
		kgo.ProducerBatchMaxBytesFn(func(topic string) int32 {
			if topic == t.letters {
				return letterBytes
			}
			return outputBytes
		}),
	)...)
	if err != nil {
		return fmt.Errorf("%w: %w", errConfig, err)
	}
	defer leave(ctx, s.Client())
	defer t.aside.clear()
	t.holds = holds{} // they come again, from the offset that was held back
	t.client.Store(s.Client())
	defer t.client.Store(nil)
	for {
		if err := t.gate.wait(ctx); err != nil {
			return nil //nolint:nilerr // told to stop
		}
		if err := t.turn(ctx, s); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// turn is a round, which a letter that is to be replayed cuts short, and then that letter.
func (t *transactor) turn(ctx context.Context, s *kgo.GroupTransactSession) error {
	if err := t.recheck(ctx, s); err != nil {
		return err
	}
	pollCtx, stop := t.holds.within(ctx)
	defer stop()
	pollCtx, cancel := t.aside.due(pollCtx, s.Client())
	defer cancel()
	letters := t.listen(pollCtx, cancel)
	fetches := s.PollRecords(pollCtx, t.batch)
	cancel()
	letter, found := <-letters
	// A pause may have come while the poll waited. Nothing is open here, and a rebalance doesn't wait for it.
	err := t.gate.wait(ctx)
	if err == nil {
		err = t.round(ctx, s, fetches)
	}
	if !found {
		return err
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		letter.answer <- err
		return err
	}
	return t.again(ctx, s, letter)
}

// round brings what was polled to its end, or puts it back. An error means that the session is of no more use.
func (t *transactor) round(ctx context.Context, s *kgo.GroupTransactSession, fetches kgo.Fetches) error {
	if ctx.Err() != nil {
		return nil
	}
	if err := t.faults(fetches); err != nil {
		return err
	}
	got := polled{}
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) > 0 {
			at := place{p.Topic, p.Partition}
			got[at] = append(got[at], p.Records...)
		}
	})
	if len(got) == 0 {
		return nil
	}
	t.aside.begin(got)

	hard, kill := withGrace(ctx, stopGrace)
	defer kill()
	all := t.holds.join(got)
	res, failed, err := t.handleWithin(hard, ctx, all)
	if err != nil {
		return err
	}
	if len(failed) == 0 {
		failed = t.shelve(hard, res.dead)
	}
	if len(failed) > 0 { // all of it comes again, but for the partitions that are set aside
		t.setAside(s.Client(), failed)
		return t.end(hard, s, kgo.TryAbort, nil)
	}
	return t.transact(hard, s, got, res, t.holds.after(all, res))
}

var errLeftBehind = errors.New("batch left behind")

// handleWithin is handle, but leaves it behind when it takes no notice of the end of ctx.
func (t *transactor) handleWithin(ctx, stopping context.Context, got polled) (result, map[place]error, error) {
	type outcome struct {
		res    result
		failed map[place]error
	}
	ended := make(chan outcome, 1)
	go func() {
		res, failed := t.handle(ctx, stopping, got)
		ended <- outcome{res, failed}
	}()
	select {
	case o := <-ended:
		return o.res, o.failed, nil
	case <-ctx.Done():
	}
	late := time.NewTimer(abandonAfter)
	defer late.Stop()
	select {
	case o := <-ended:
		return o.res, o.failed, nil
	case <-late.C:
		t.log.Error("batch left behind")
		return result{}, nil, errLeftBehind
	}
}

// handle returns what the records come to, or why it can't be said of some partitions.
func (t *transactor) handle(ctx, stopping context.Context, got polled) (result, map[place]error) {
	var all []*kgo.Record
	for _, records := range got {
		all = append(all, records...)
	}
	res, err := t.finish(ctx, stopping, all)
	if err == nil {
		return res, nil
	}
	if len(got) == 1 {
		for at := range got {
			return result{}, map[place]error{at: err}
		}
	}
	return t.handleEach(ctx, stopping, got)
}

// handleEach handles each partition by itself, to tell those in trouble from the others.
func (t *transactor) handleEach(ctx, stopping context.Context, got polled) (result, map[place]error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var sum result
	failed := map[place]error{}
	for at, records := range got {
		wg.Go(func() {
			res, err := t.finish(ctx, stopping, records)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[at] = err
				return
			}
			sum.produce = append(sum.produce, res.produce...)
			sum.dead = append(sum.dead, res.dead...)
			sum.held = append(sum.held, res.held...)
		})
	}
	wg.Wait()
	return sum, failed
}

// finish handles records and heals those that are given up.
func (t *transactor) finish(ctx, stopping context.Context, records []*kgo.Record) (result, error) {
	res, err := t.process(ctx, records, pacing{
		down:    func(_ int, err error) error { return err },
		refused: func(try int) error { return sleep(stopping, backoff(refusedFirst, refusedLast, try)) },
	})
	if err != nil || t.heal == nil {
		return res, err
	}
	for _, f := range res.dead {
		out, err := t.mend(ctx, f.record)
		if err != nil {
			return result{}, err
		}
		res.produce = append(res.produce, out...)
	}
	return res, nil
}

// mend heals what a record that is given up would have changed. It returns only an error that a later try can cure.
func (t *transactor) mend(ctx context.Context, rec *kgo.Record) (out []*kgo.Record, err error) {
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = panicked(p)
		}
		if v := judge(err); v == refused || v == rejected {
			t.log.Error("heal failed", "topic", rec.Topic, "partition", rec.Partition, "offset", rec.Offset, "error", err)
			out, err = nil, nil
		}
	}()
	return t.heal(ctx, rec)
}

func (t *transactor) setAside(cl *kgo.Client, failed map[place]error) {
	for at, tries := range t.aside.add(cl, maps.Keys(failed)) {
		if tries%10 == 1 {
			t.log.Warn("trying again", "topic", at.topic, "partition", at.partition, "try", tries, "error", failed[at])
		}
	}
}

// withGrace returns a ctx that ends grace after ctx does.
func withGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		_ = sleep(out, grace)
		cancel()
	})
	return out, func() { stop(); cancel() }
}
