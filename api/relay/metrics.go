package relay

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"cartstream/schemas"
)

type metrics struct {
	published *prometheus.CounterVec
	rounds    *prometheus.CounterVec
	errors    *prometheus.CounterVec
	leases    *prometheus.CounterVec
}

func newMetrics(r *Relay) *metrics {
	register := promauto.With(r.Registerer)
	counter := func(name, help, label string) *prometheus.CounterVec {
		return register.NewCounterVec(prometheus.CounterOpts{Name: "cartstream_relay_" + name, Help: help}, []string{label})
	}
	gauge := func(name, help string, value func(*shard) float64, pick func(a, b float64) float64) {
		register.NewGaugeFunc(prometheus.GaugeOpts{Name: "cartstream_relay_" + name, Help: help}, func() float64 { return r.sum(value, pick) })
	}
	sum := func(a, b float64) float64 { return a + b }
	gauge("owned_shards", "Shards whose outbox this instance relays.", owned, sum)
	gauge("pending", "Outbox entries read and not yet acknowledged by Kafka.", pending, sum)
	gauge("oldest_seconds", "Age of the oldest change read from an outbox and not yet acknowledged by Kafka.", age, func(a, b float64) float64 { return max(a, b) })
	return &metrics{
		published: counter("published_total", "Records acknowledged by Kafka.", "topic"),
		rounds:    counter("rounds_total", "Rounds of one shard's records, by result: ok or error.", "result"),
		errors:    counter("errors_total", "Failures, by what failed: beat, read, produce or trim.", "stage"),
		leases:    counter("lease_changes_total", "Leases taken, released, lost, and renewed under another token or generation.", "change"),
	}
}

// count counts a round of which Kafka has n records.
func (m *metrics) count(sent *round, n int, err error) {
	if err != nil {
		m.rounds.WithLabelValues("error").Inc()
		return
	}
	m.rounds.WithLabelValues("ok").Inc()
	m.published.WithLabelValues(sent.entries[0].Topic).Add(float64(n))
}

// sum puts together a value of all shards.
func (r *Relay) sum(value func(*shard) float64, pick func(a, b float64) float64) float64 {
	total := 0.0
	for _, l := range r.lanes {
		l.mu.Lock()
		for _, s := range l.shards {
			total = pick(total, value(s))
		}
		l.mu.Unlock()
	}
	return total
}

func owned(s *shard) float64 {
	if s.lease.Owned && time.Now().Before(s.until) {
		return 1
	}
	return 0
}

func pending(s *shard) float64 {
	n := len(s.queue)
	if s.round != nil {
		n += len(s.round.entries)
	}
	return float64(n)
}

// age returns how many seconds ago the oldest change that Kafka isn't known to have occurred.
func age(s *shard) float64 {
	e, ok := s.oldest()
	if !ok {
		return 0
	}
	for _, h := range e.Headers {
		if h.Key == schemas.HeaderTime {
			if at, err := time.Parse(time.RFC3339Nano, h.Value); err == nil {
				return max(0, time.Since(at).Seconds())
			}
		}
	}
	return 0
}
