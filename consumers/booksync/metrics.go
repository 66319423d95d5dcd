package booksync

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// meter is what operators see of the walks of this process.
type meter struct {
	carts     prometheus.Counter
	steps     prometheus.Histogram
	walks     prometheus.Histogram
	refreshed *prometheus.CounterVec
}

func newMeter(reg prometheus.Registerer, waiting, owing func() float64) *meter {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "cartstream_booksync_walks_waiting",
		Help: "Walks over the holders of a book in a shard that were there when the shards were last looked at.",
	}, waiting)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "cartstream_booksync_refreshes_due",
		Help: "Shards whose books are still to be compared with the catalogue.",
	}, owing)
	return &meter{
		carts: f.NewCounter(prometheus.CounterOpts{
			Name: "cartstream_booksync_carts_changed_total",
			Help: "Carts that a walk changed.",
		}),
		steps: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "cartstream_booksync_step_seconds",
			Help:    "Time from sending a step of a walk to its answer: no less than it held Redis.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 2, 12), // 0.2 ms to 0.4 s
		}),
		walks: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "cartstream_booksync_walk_seconds",
			Help:    "Time that the walks over all holders of a book on one Redis server took, from when they were first seen.",
			Buckets: prometheus.ExponentialBuckets(0.005, 4, 10), // 5 ms to 22 min
		}),
		refreshed: f.NewCounterVec(prometheus.CounterOpts{
			Name: "cartstream_booksync_refreshes_total",
			Help: "Shards whose books were compared with the catalogue, by outcome: done, or failed and to be made again.",
		}, []string{"outcome"}),
	}
}
