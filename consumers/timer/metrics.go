package timer

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are what operators see of all jobs. Last success and overdue are the same on every instance, but for the time
// since its last look; the others are this process's own.
type metrics struct {
	registerer prometheus.Registerer
	success    *prometheus.GaugeVec
	running    *prometheus.GaugeVec
	items      *prometheus.CounterVec
	runs       *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f, job := promauto.With(reg), []string{"job"}
	return &metrics{
		registerer: reg,
		success: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cartstream_timer_last_success_timestamp_seconds",
			Help: "When a run of the job, on any instance, last ended without an error, in unix seconds; 0 for never.",
		}, job),
		running: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cartstream_timer_running",
			Help: "Whether this process runs the job.",
		}, job),
		items: f.NewCounterVec(prometheus.CounterOpts{
			Name: "cartstream_timer_items_total",
			Help: "What this process's finished runs of the job had to do.",
		}, job),
		runs: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "cartstream_timer_run_seconds",
			Help:    "How long this process's runs of the job took, by outcome: done, failed, released as the process ended, or lost with the lease.",
			Buckets: prometheus.ExponentialBuckets(0.01, 5, 9), // 10 ms to an hour
		}, []string{"job", "outcome"}),
	}
}

// meter is what operators see of one job.
type meter struct {
	success, running prometheus.Gauge
	items            prometheus.Counter
	runs             *prometheus.HistogramVec

	slots Slots
	mu    sync.Mutex
	due   time.Time // the first slot that isn't done; zero until Redis was asked
}

func (m *metrics) of(j Job) *meter {
	one := &meter{
		success: m.success.WithLabelValues(j.Name), running: m.running.WithLabelValues(j.Name),
		items: m.items.WithLabelValues(j.Name), runs: m.runs, slots: j.When,
	}
	for _, outcome := range []string{"done", "failed", "released", "lost"} {
		m.runs.WithLabelValues(j.Name, outcome) // a rate needs the first one too
	}
	promauto.With(m.registerer).NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "cartstream_timer_overdue_seconds",
		Help:        "How long the job's first slot that isn't done, on any instance, has been due; 0 where all are.",
		ConstLabels: prometheus.Labels{"job": j.Name},
	}, one.overdue)
	return one
}

// saw takes note of what all instances know.
func (m *meter) saw(s State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !s.Slot.IsZero() {
		m.due = m.slots.After(s.Slot)
	} else if m.due.IsZero() {
		m.due = s.Now // never done: it counts from when that was first seen
	}
	if !s.Finished.IsZero() {
		m.success.Set(float64(s.Finished.UnixMilli()) / 1000)
	}
}

func (m *meter) overdue() float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.due.IsZero() {
		return 0
	}
	return max(0, time.Since(m.due).Seconds())
}
