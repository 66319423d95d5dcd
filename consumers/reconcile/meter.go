package reconcile

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// meter is what operators see of reconciliation.
type meter struct {
	compared, facts prometheus.Counter
	drift, healed   *prometheus.CounterVec
}

func newMeter(reg prometheus.Registerer) *meter {
	f, kind := promauto.With(reg), []string{"kind"}
	m := &meter{
		compared: f.NewCounter(prometheus.CounterOpts{
			Name: "cartstream_reconcile_carts_total",
			Help: "Carts compared between Redis and MongoDB.",
		}),
		facts: f.NewCounter(prometheus.CounterOpts{
			Name: "cartstream_reconcile_facts_total",
			Help: "Books of which a shard had older facts than MongoDB, in a way that a cart would have shown.",
		}),
		drift: f.NewCounterVec(prometheus.CounterOpts{
			Name: "cartstream_reconcile_drift_total",
			Help: "Carts that differed twice, by how their document did: behind, missing, ahead, orphan (Redis has no cart) or content (of the same version).",
		}, kind),
		healed: f.NewCounterVec(prometheus.CounterOpts{
			Name: "cartstream_reconcile_healed_total",
			Help: "Those of them that were made equal again.",
		}, kind),
	}
	for _, k := range kinds { // a rate needs the first one too
		m.drift.WithLabelValues(string(k))
		m.healed.WithLabelValues(string(k))
	}
	return m
}
