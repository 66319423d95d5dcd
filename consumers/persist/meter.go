package persist

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"cartstream/schemas"
)

// meter is what operators see of the writes.
type meter struct {
	changes   map[schemas.Outcome]prometheus.Counter
	syncs     *prometheus.CounterVec
	written   prometheus.Counter
	documents prometheus.Histogram
	bulk      prometheus.Histogram
}

func newMeter(reg prometheus.Registerer) *meter {
	f := promauto.With(reg)
	changes := f.NewCounterVec(prometheus.CounterOpts{
		Name: "cartstream_persist_changes_total",
		Help: "Changes looked at, by whether they were next (applied), known (stale) or after a missing one (gap).",
	}, []string{"outcome"})
	return &meter{
		changes: map[schemas.Outcome]prometheus.Counter{
			schemas.Applied: changes.WithLabelValues("applied"),
			schemas.Stale:   changes.WithLabelValues("stale"),
			schemas.Gap:     changes.WithLabelValues("gap"),
		},
		syncs: f.NewCounterVec(prometheus.CounterOpts{
			Name: "cartstream_persist_full_syncs_total",
			Help: "Carts read whole from Redis, by whether it has one (done), has none (missing), or lost it and gets it back from the document (lost).",
		}, []string{"outcome"}),
		written: f.NewCounter(prometheus.CounterOpts{
			Name: "cartstream_persist_documents_written_total",
			Help: "Documents inserted or replaced in MongoDB.",
		}),
		documents: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "cartstream_persist_bulk_write_documents",
			Help:    "Documents of one bulk write.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 6), // 1 to 1,024
		}),
		bulk: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "cartstream_persist_bulk_write_seconds",
			Help:    "Time that one bulk write took, failed ones too.",
			Buckets: prometheus.ExponentialBuckets(0.001, 3, 10), // 1 ms to 20 s
		}),
	}
}

// watch shows how many documents wait, asked when the metrics are.
func (m *meter) watch(reg prometheus.Registerer, queued func() float64) {
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "cartstream_persist_waiting_documents",
		Help: "Documents to write that wait for a bulk write in flight to end.",
	}, queued)
}
