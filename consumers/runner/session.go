package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
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

// faults logs what went wrong with a poll, and returns an error where only a new client can get over it. The client gets
// over the rest by itself: engines that are away, topics that don't exist yet, data loss, a group session that ended.
func (p parts) faults(fetches kgo.Fetches) error {
	var fatal error
	fetches.EachError(func(topic string, partition int32, err error) {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			return // a poll that ended without records
		}
		if p.echo.isNew(err.Error()) {
			p.log.Warn("fetch failed", "topic", topic, "partition", partition, "error", err)
		}
		var session *kgo.ErrGroupSession
		var loss *kgo.ErrDataLoss
		var answer *kerr.Error
		switch {
		case errors.Is(err, kgo.ErrClientClosed):
			fatal = err
		case errors.As(err, &session), errors.As(err, &loss):
		case errors.Is(err, kerr.UnknownTopicID): // told once it lasts: the topic was deleted and made anew, which a client never follows
			fatal = fmt.Errorf("fetch %s/%d: %w", topic, partition, err)
		case errors.As(err, &answer) && !answer.Retriable:
			fatal = fmt.Errorf("fetch %s/%d: %w", topic, partition, err)
		}
	})
	return fatal
}

// echo keeps what goes on for hours from being logged each second.
type echo struct {
	mu   sync.Mutex
	text string
	at   time.Time
}

// isNew reports whether the text is another than the last, or half a minute went by.
func (e *echo) isNew(text string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if text == e.text && time.Since(e.at) < 30*time.Second {
		return false
	}
	e.text, e.at = text, time.Now()
	return true
}

// leave leaves the group, so that others take over at once, and closes the client.
func leave(ctx context.Context, cl *kgo.Client) {
	cl.AllowRebalance()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	_ = cl.LeaveGroupContext(ctx) // else the group waits for the session to time out
	cl.Close()
}
