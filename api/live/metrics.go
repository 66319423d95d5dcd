package live

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	open   prometheus.Gauge
	frames *prometheus.CounterVec
	closes *prometheus.CounterVec
	gaps   *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "cartstream_live_sockets", Help: "WebSockets that are open.",
		}),
		frames: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cartstream_live_frames_total", Help: "Frames sent, by type: snapshot, current, change.",
		}, []string{"type"}),
		closes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cartstream_live_closes_total",
			Help: "WebSockets closed, by reason: client (left), slow (didn't take a frame), dead (no pong), expired, policy, too_big, drained.",
		}, []string{"reason"}),
		gaps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cartstream_live_gaps_total",
			Help: "Times that a client lacked a change and gets a snapshot, by how that was found: change (a later one came), check (Redis has more), backlog (the client is slow).",
		}, []string{"found"}),
	}
	r.MustRegister(m.open, m.frames, m.closes, m.gaps)
	for _, why := range []reason{left, slow, dead, expired, policy, tooBig, drained} {
		m.closes.WithLabelValues(string(why))
	}
	for _, k := range []kind{snapshot, current, change} {
		m.frames.WithLabelValues(string(k))
	}
	for _, found := range []gap{byChange, byCheck, backlogs} {
		m.gaps.WithLabelValues(string(found))
	}
	return m
}

func (m *metrics) gap(found gap) {
	if found != none {
		m.gaps.WithLabelValues(string(found)).Inc()
	}
}
