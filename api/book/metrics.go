package book

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	hits, misses      prometheus.Counter
	published, failed prometheus.Counter
	unpublished       prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	make := promauto.With(r)
	cache := make.NewCounterVec(prometheus.CounterOpts{
		Name: "cartstream_book_cache_total",
		Help: "Books asked for when something is added to a cart, by whether they were cached (hit) or read from MongoDB (miss).",
	}, []string{"outcome"})
	events := make.NewCounterVec(prometheus.CounterOpts{
		Name: "cartstream_book_events_total",
		Help: "Book events handed to Kafka, repeats included, by whether it acknowledged them (published, failed).",
	}, []string{"outcome"})
	return &metrics{
		hits: cache.WithLabelValues("hit"), misses: cache.WithLabelValues("miss"),
		published: events.WithLabelValues("published"), failed: events.WithLabelValues("failed"),
		unpublished: make.NewGauge(prometheus.GaugeOpts{
			Name: "cartstream_books_unpublished",
			Help: "Books whose newest version was not known to be in Kafka when this instance last looked.",
		}),
	}
}
