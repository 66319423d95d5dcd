package runner

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of all consumers of a Runner.
type metrics struct{ records, batches, retries, parked *prometheus.CounterVec }

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "cartstream", Subsystem: "consumer", Name: name, Help: help,
		}, append([]string{"consumer"}, labels...))
	}
	m := &metrics{
		records: counter("records_total", "Records that are done or parked."),
		batches: counter("batches_total", "Batches that are done."),
		retries: counter("retries_total", "Calls of Handle that failed and were made again."),
		parked:  counter("parked_total", "Records that became dead letters.", "class"),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.records, m.batches, m.retries, m.parked} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register consumer metrics: %w", err)
		}
	}
	return m, nil
}

// meter are the metrics of one consumer.
type meter struct {
	records, batches, retries prometheus.Counter
	parked                    *prometheus.CounterVec
}

func (m *metrics) of(name string) *meter {
	consumer := prometheus.Labels{"consumer": name}
	for _, class := range []string{ClassUndecodable, ClassRejected, ClassExhausted} {
		m.parked.WithLabelValues(name, class) // an increase needs the zero before it
	}
	return &meter{
		records: m.records.With(consumer), batches: m.batches.With(consumer), retries: m.retries.With(consumer),
		parked: m.parked.MustCurryWith(consumer),
	}
}

// lagGauge shows a consumer's lag, worked out when asked.
func lagGauge(name string, lag func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "cartstream", Subsystem: "consumer", Name: "lag_seconds",
		Help:        "Age of the oldest record that was fetched and isn't done.",
		ConstLabels: prometheus.Labels{"consumer": name},
	}, lag)
}
