package recovery

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	recoveries       prometheus.Counter
	brought, putBack prometheus.Counter
}

func newMetrics(r *Recovery) *metrics {
	with := promauto.With(r.Registerer)
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "cartstream_recovery_shards",
		Help: "Shards that this process can't serve because they are being recovered.",
	}, func() float64 {
		_, recovering := r.Store.Count()
		return float64(recovering)
	})
	carts := with.NewCounterVec(prometheus.CounterOpts{
		Name: "cartstream_recovery_carts_total",
		Help: "Carts that were brought back, by where they came from.",
	}, []string{"from"})
	return &metrics{
		recoveries: with.NewCounter(prometheus.CounterOpts{
			Name: "cartstream_recoveries_total",
			Help: "Times that shards of a node were opened under a new generation.",
		}),
		brought: carts.WithLabelValues("kafka"), putBack: carts.WithLabelValues("mongodb"),
	}
}
