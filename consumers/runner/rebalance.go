package runner

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What happens to workers as partitions come and go. The client calls assigned, revoked and lost one at a time, and never
// between a poll and the end of its hand-out.

func (g *group) assigned(ctx context.Context, cl *kgo.Client, got map[string][]int32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing {
		return
	}
	for topic, partitions := range got {
		for _, partition := range partitions {
			g.workers[place{topic, partition}] = g.start(ctx, cl, place{topic, partition})
		}
	}
}

func (g *group) start(ctx context.Context, cl *kgo.Client, at place) *worker {
	base := context.WithoutCancel(ctx) // a drain lets the batch in hand end
	hard, kill := context.WithCancel(base)
	stopping, stop := context.WithCancel(base)
	it := map[string][]int32{at.topic: {at.partition}}
	w := &worker{
		place: at, parts: g.parts, process: g.process, heal: g.heal,
		mark: func(r *kgo.Record) { cl.MarkCommitRecords(r) },
		stop: stop, kill: kill, done: make(chan struct{}),
	}
	w.queue = newQueue(g.batch, func(stop bool) {
		if stop {
			cl.PauseFetchPartitions(it)
		} else {
			cl.ResumeFetchPartitions(it)
		}
	})
	go w.run(hard, stopping)
	return w
}

func (g *group) revoked(ctx context.Context, cl *kgo.Client, taken map[string][]int32) {
	g.halt(g.remove(taken), stopGrace)
	g.commit(ctx, cl)
}

func (g *group) remove(from map[string][]int32) []*worker {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []*worker
	for topic, partitions := range from {
		for _, partition := range partitions {
			if w := g.workers[place{topic, partition}]; w != nil {
				out = append(out, w)
				delete(g.workers, w.place)
			}
		}
	}
	return out
}

// halt stops workers: none begins anything from now on; what is in hand has until grace, and abandonAfter once its ctx
// ended. When halt returns, none will mark anything any more.
func (g *group) halt(workers []*worker, grace time.Duration) {
	for _, w := range workers {
		w.stop()
	}
	ended := waitAll(workers, grace)
	for _, w := range workers {
		w.kill()
	}
	if !ended {
		waitAll(workers, abandonAfter)
	}
	for _, w := range workers {
		w.abandon()
		select {
		case <-w.done:
		default:
			g.log.Error("batch left behind", "topic", w.topic, "partition", w.partition)
		}
	}
}

func waitAll(workers []*worker, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for _, w := range workers {
		select {
		case <-w.done:
		case <-t.C:
			return false
		}
	}
	return true
}

// commit commits what is marked: what is done.
func (g *group) commit(ctx context.Context, cl *kgo.Client) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	if err := cl.CommitMarkedOffsets(ctx); err != nil {
		g.log.Warn("commit failed; records will repeat", "error", err)
	}
}

func (g *group) committed(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
	if err == nil && resp != nil {
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				err = errors.Join(err, kerr.ErrorForCode(p.ErrorCode))
			}
		}
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		g.log.Warn("commit failed; it is made again", "error", err)
	}
}

func (g *group) setClosing(to bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closing = to
}

// drain finishes what is in hand and leaves the group, upon which revoked commits it.
func (g *group) drain(ctx context.Context, cl *kgo.Client) {
	g.mu.Lock()
	g.closing = true
	workers := make([]*worker, 0, len(g.workers))
	for at, w := range g.workers {
		workers = append(workers, w)
		delete(g.workers, at)
	}
	g.mu.Unlock()
	g.halt(workers, stopGrace)
	leave(ctx, cl)
}
