package main

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// engineStates are what readiness says about the engines, as metrics.
type engineStates struct {
	ask func(context.Context) readiness
}

var (
	engineUp     = prometheus.NewDesc("cartstream_engine_up", "1 for an engine that answers, else 0.", []string{"engine"}, nil)
	engineNotice = prometheus.NewDesc("cartstream_engine_notice",
		"1 for an engine that answers but isn't as it should be: a Redis that may lose or evict carts, a master that is away. Readiness says which.", []string{"engine"}, nil)
)

// Describe implements prometheus.Collector.
func (s *engineStates) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- engineUp
	descriptions <- engineNotice
}

// Collect implements prometheus.Collector.
func (s *engineStates) Collect(metrics chan<- prometheus.Metric) {
	for name, e := range s.ask(context.Background()).Engines {
		up, notice := 0.0, 0.0
		if e.State == "up" {
			up = 1
		}
		if e.Detail != "" && e.State == "up" {
			notice = 1
		}
		metrics <- prometheus.MustNewConstMetric(engineUp, prometheus.GaugeValue, up, name)
		metrics <- prometheus.MustNewConstMetric(engineNotice, prometheus.GaugeValue, notice, name)
	}
}
