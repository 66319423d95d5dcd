package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// How long things may take. A rebalance waits for one member at most stopGrace + abandonAfter + commitTimeout, which is
// well within rebalanceTimeout.
const (
	stopGrace        = 5 * time.Second // for the batch in hand; then the ctx of Handle ends
	abandonAfter     = 3 * time.Second // for Handle to notice; then it is left behind
	commitTimeout    = 5 * time.Second
	leaveTimeout     = 5 * time.Second
	commitInterval   = time.Second
	sessionTimeout   = 10 * time.Second // until a member that died loses its partitions
	heartbeat        = 2 * time.Second
	rebalanceTimeout = 30 * time.Second
)

// maxPoll bounds what one poll hands out, over all partitions.
const maxPoll = 5000

// options are those that every group here shares. What Config.Kafka says comes last and wins.
func (p parts) options(topics []string, more ...kgo.Opt) []kgo.Opt {
	o := append([]kgo.Opt{
		kgo.ConsumerGroup(p.name),
		kgo.ConsumeTopics(topics...),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(sessionTimeout),
		kgo.HeartbeatInterval(heartbeat),
		kgo.RebalanceTimeout(rebalanceTimeout),
		// Both: where a group has no offset, and where the log was cut behind its offset.
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxBytes(16 << 20),
		// A broker is asked once at a time: a partition that is fetched again waits for the request under way to end.
		kgo.FetchMaxWait(250 * time.Millisecond),
		kgo.MetadataMinAge(250 * time.Millisecond),
	}, more...)
	return append(o, p.kafka...)
}

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

// sessions runs one session after another until ctx ends, since there are errors that only a new client gets over.
func (p parts) sessions(ctx context.Context, session func(context.Context) error) error {
	for try := 1; ; try++ {
		started := time.Now()
		err := session(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // told to stop; the session logged what went wrong with that
		}
		if errors.Is(err, errConfig) {
			return err
		}
		if time.Since(started) > time.Minute {
			try = 1
		}
		p.log.Error("consumer starts over", "error", err)
		_ = sleep(ctx, downFirst+backoff(downFirst, time.Minute, try)) // the next session sees that ctx ended
	}
}

// errConfig says that no client can be made of the options.
var errConfig = errors.New("kafka options")

func (g *group) session(ctx context.Context) error {
	var cl *kgo.Client
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

// faults logs what went wrong with a poll, and returns an error where only a new client can get over it. The client gets
// over the rest by itself: engines that are away, topics that don't exist yet, data loss, a group session that ended.
func (p parts) faults(fetches kgo.Fetches) error {
	var fatal error
	fetches.EachError(func(topic string, partition int32, err error) {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			return // a poll that ended without records
		}
		p.log.Warn("fetch failed", "topic", topic, "partition", partition, "error", err)
		var session *kgo.ErrGroupSession
		var loss *kgo.ErrDataLoss
		var answer *kerr.Error
		switch {
		case errors.Is(err, kgo.ErrClientClosed):
			fatal = err
		case errors.As(err, &session), errors.As(err, &loss):
		case errors.As(err, &answer) && !answer.Retriable:
			fatal = fmt.Errorf("fetch %s/%d: %w", topic, partition, err)
		}
	})
	return fatal
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

// drain finishes what is in hand, commits it and leaves the group.
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
	g.commit(ctx, cl)
	leave(ctx, cl)
}

// leave leaves the group, so that others take over at once, and closes the client.
func leave(ctx context.Context, cl *kgo.Client) {
	cl.AllowRebalance()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	_ = cl.LeaveGroupContext(ctx) // else the group waits for the session to time out
	cl.Close()
}
