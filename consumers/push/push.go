// Package push hands each change of a cart to Redis pub/sub, where every gateway listens for the users connected to it.
package push

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"golang.org/x/time/rate"

	"cartstream/api/cart"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// Publisher is Redis pub/sub.
type Publisher interface {
	// Publish hands over the notices, each user's in their order. It drops those that it can't hand over soon, holds up
	// none of the others for them, and returns an error then.
	Publish(ctx context.Context, notices []cart.Notice) error
}

// Consumer publishes every change, unchanged and in the order of its cart. What can't be published is dropped: gateways
// find the gap and send a snapshot. So a dead Redis stops nobody, and a change may arrive twice or not at all.
func Consumer(redis Publisher, reg prometheus.Registerer, log *slog.Logger) runner.Consumer[schemas.CartChanged] {
	batches := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "cartstream_push_batches_total",
		Help: "Batches of changes that Redis pub/sub took whole (published), or not (dropped, at least one change of it).",
	}, []string{"outcome"})
	p := &push{
		redis: redis, log: log, complaints: rate.Sometimes{Interval: 10 * time.Second},
		published: batches.WithLabelValues("published"), dropped: batches.WithLabelValues("dropped"),
	}
	return runner.Consumer[schemas.CartChanged]{
		Group:  "push",
		Topics: []string{schemas.CartEvents},
		Decode: schemas.DecodeCartChanged, // nobody is sent what can't be read
		Handle: p.publish,
	}
}

type push struct {
	redis              Publisher
	log                *slog.Logger
	complaints         rate.Sometimes
	published, dropped prometheus.Counter
}

func (p *push) publish(ctx context.Context, batch []runner.Record[schemas.CartChanged]) error {
	notices := make([]cart.Notice, len(batch))
	for i, rec := range batch {
		notices[i] = cart.Notice{User: rec.Value.UserID, Payload: rec.Record.Value}
	}
	err := p.redis.Publish(ctx, notices)
	if err == nil {
		p.published.Inc()
		return nil
	}
	p.dropped.Inc()
	p.complaints.Do(func() {
		p.log.Warn("changes not pushed, gateways will find the gap", "topic", batch[0].Topic,
			"partition", batch[0].Partition, "offset", batch[0].Offset, "error", err)
	})
	return nil
}
