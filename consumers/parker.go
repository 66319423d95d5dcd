package main

import (
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/consumers/parking"
	"cartstream/consumers/runner"
)

// newParker returns where dead letters go: to the topic, else to MongoDB's index of them, else to the spool where there is
// one. The caller closes it once no consumer runs any more.
func newParker(cfg config, kafka []kgo.Opt, index parking.Holder, reg prometheus.Registerer, log *slog.Logger) (*parking.Parker, func() error, error) {
	topic, err := runner.NewLetterTopic(kafka)
	if err != nil {
		return nil, nil, err
	}
	places := []parking.Place{{Name: "mongodb", Holder: index}}
	closeAll := func() error { topic.Close(); return nil }
	if cfg.SpoolDir != "" {
		spool, err := parking.NewSpool(cfg.SpoolDir, cfg.SpoolLimit<<20, log)
		if err != nil {
			return nil, nil, errors.Join(err, closeAll())
		}
		places = append(places, parking.Place{Name: "spool", Holder: spool})
		closeAll = func() error { topic.Close(); return spool.Close() }
	}
	return parking.New(topic, log, reg, places...), closeAll, nil
}
