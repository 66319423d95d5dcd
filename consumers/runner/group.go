package runner

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// group runs a Consumer: one client, one worker a partition.
type group struct {
	parts
	topics  []string
	batch   int
	process process
	heal    func(context.Context, *kgo.Record) error

	mu      sync.Mutex
	closing bool
	workers map[place]*worker
}

func (g *group) lag() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	var oldest time.Time
	for _, w := range g.workers {
		if at := w.queue.oldest(); !at.IsZero() && (oldest.IsZero() || at.Before(oldest)) {
			oldest = at
		}
	}
	return age(oldest)
}

func age(at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return max(0, time.Since(at).Seconds())
}

func (g *group) run(ctx context.Context) error { return g.sessions(ctx, g.session) }

func (g *group) session(ctx context.Context) error {
	cl, err := kgo.NewClient(g.options(g.topics,
		kgo.BlockRebalanceOnPoll(),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(commitInterval),
		kgo.AutoCommitCallback(g.committed),
		kgo.OnPartitionsAssigned(func(_ context.Context, cl *kgo.Client, got map[string][]int32) { g.assigned(ctx, cl, got) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, cl *kgo.Client, taken map[string][]int32) { g.revoked(ctx, cl, taken) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { g.halt(g.remove(lost), 0) }),
	)...)
	if err != nil {
		return fmt.Errorf("%w: %w", errConfig, err)
	}
	g.setClosing(false)
	err = g.poll(ctx, cl)
	g.drain(ctx, cl)
	return err
}

// poll hands records to the workers until ctx ends or the client must be replaced.
func (g *group) poll(ctx context.Context, cl *kgo.Client) error {
	for {
		fetches := cl.PollRecords(ctx, maxPoll)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // told to stop
		}
		if err := g.faults(fetches); err != nil {
			return err
		}
		var lost error
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if len(p.Records) > 0 && !g.push(place{p.Topic, p.Partition}, p.Records) {
				lost = fmt.Errorf("records of %s/%d came without its assignment", p.Topic, p.Partition)
			}
		})
		if lost != nil { // dropping them would commit past them one day
			return lost
		}
		cl.AllowRebalance()
	}
}

func (g *group) push(at place, records []*kgo.Record) bool {
	g.mu.Lock()
	w := g.workers[at]
	g.mu.Unlock()
	if w == nil {
		return false
	}
	w.queue.push(records)
	return true
}
