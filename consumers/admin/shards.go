package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// Shards tells how the shards in Redis are.
type Shards interface {
	// Outboxes reports on every shard, in order; so does Generations.
	Outboxes(ctx context.Context) []cart.OutboxReport
	Generations(ctx context.Context) []cart.ShardReport
}

// ShardRoutes show what waits in the outboxes, and which shards can be served.
func ShardRoutes(shards Shards) []Route {
	return []Route{
		{"GET /admin/outbox", func(w http.ResponseWriter, r *http.Request) error { return showOutbox(w, r, shards) }},
		{"GET /admin/recovery", func(w http.ResponseWriter, r *http.Request) error { return showRecovery(w, r, shards) }},
	}
}

// backlog is what waits in all outboxes that could be asked.
type backlog struct {
	pending int64
	oldest  time.Duration
	hidden  int // shards that could not be asked
}

func sum(reports []cart.OutboxReport, now time.Time) backlog {
	var b backlog
	for _, r := range reports {
		if r.Err != nil {
			b.hidden++
			continue
		}
		b.pending += r.Pending
		if !r.Oldest.IsZero() {
			b.oldest = max(b.oldest, now.Sub(r.Oldest))
		}
	}
	return b
}

// showOutbox shows a shard that can't be asked with neither figure nor owner.
func showOutbox(w http.ResponseWriter, r *http.Request, shards Shards) error {
	type shard struct {
		Shard   int     `json:"shard"`
		Pending *int64  `json:"pending"`
		Owner   *string `json:"owner"`
	}
	reports := shards.Outboxes(r.Context())
	all := sum(reports, time.Now())
	if all.hidden == len(reports) && len(reports) > 0 {
		return fmt.Errorf("no outbox can be asked: %w: %w", schemas.ErrUnavailable, reports[0].Err)
	}
	list := make([]shard, len(reports))
	for i, report := range reports {
		list[i].Shard = report.Shard
		if report.Err == nil {
			list[i].Pending, list[i].Owner = &report.Pending, &report.Owner
		}
	}
	Answer(w, http.StatusOK, struct {
		Pending     int64   `json:"pending"`
		OldestAgeMs int64   `json:"oldestAgeMs"`
		Shards      []shard `json:"shards"`
	}{all.pending, all.oldest.Milliseconds(), list})
	return nil
}

// The states of a shard, as operators are told.
const (
	ready      = "ready"      // served, with every cart
	restoring  = "restoring"  // served; carts that were lost come back, those that are touched first
	recovering = "recovering" // not served
	hidden     = "unknown"    // its server doesn't answer
)

func stateOf(r cart.ShardReport) string {
	switch {
	case r.Err != nil:
		return hidden
	case r.Known && r.State == cart.Ready:
		return ready
	case r.Known && r.State == cart.Lost:
		return restoring
	}
	return recovering
}

// showRecovery shows each shard's state, since when it has the generation that it has, and how many carts were brought back
// from MongoDB under it. A generation's number is the time at which it began, unless a clock had gone back.
func showRecovery(w http.ResponseWriter, r *http.Request, shards Shards) error {
	type shard struct {
		Shard      int           `json:"shard"`
		State      string        `json:"state"`
		Generation *int64        `json:"generation"`
		Since      *schemas.Time `json:"since"`
		Carts      *int64        `json:"carts"`
	}
	list := []shard{}
	for _, report := range shards.Generations(r.Context()) {
		one := shard{Shard: report.Shard, State: stateOf(report)}
		if number := report.Generation.Number; number > 0 {
			since := schemas.Milliseconds(number)
			one.Generation, one.Since, one.Carts = &number, &since, &report.Restored
		}
		list = append(list, one)
	}
	Answer(w, http.StatusOK, struct {
		Shards []shard `json:"shards"`
	}{list})
	return nil
}

const (
	// askFor bounds how long a scrape waits for Redis.
	askFor = 2 * time.Second
)

// watch is the outboxes and the shards as metrics, asked for at each scrape.
type watch struct {
	shards                 Shards
	pending, oldest, state *prometheus.Desc
}

// Watch returns the metrics of outboxes and shards. Each scrape asks Redis once, with a few plain reads a shard. Every
// process tells the same, so look at the maximum; what can't be asked is left out.
func Watch(shards Shards) prometheus.Collector {
	return &watch{
		shards:  shards,
		pending: prometheus.NewDesc("cartstream_outbox_pending", "Outbox entries that Kafka isn't known to have, over all shards that answer.", nil, nil),
		oldest:  prometheus.NewDesc("cartstream_outbox_oldest_age_seconds", "Age of the oldest change that waits in an outbox; 0 where none does.", nil, nil),
		state:   prometheus.NewDesc("cartstream_shards", "Shards by state: ready, restoring (served while lost carts come back), recovering (not served), unknown (no answer).", []string{"state"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *watch) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- c.pending
	descriptions <- c.oldest
	descriptions <- c.state
}

// Collect implements prometheus.Collector.
func (c *watch) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), askFor)
	defer cancel()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	reports := c.shards.Outboxes(ctx)
	if all := sum(reports, time.Now()); all.hidden < len(reports) {
		gauge(c.pending, float64(all.pending))
		gauge(c.oldest, all.oldest.Seconds())
	}
	states := map[string]int{ready: 0, restoring: 0, recovering: 0, hidden: 0}
	for _, report := range c.shards.Generations(ctx) {
		states[stateOf(report)]++
	}
	for state, n := range states {
		gauge(c.state, float64(n), state)
	}
}
