package main

import (
	"path/filepath"

	"github.com/twmb/franz-go/pkg/kfake"
)

// startKafka runs one broker that keeps topics, records, groups and transactions in the data directory.
// As in production, no topic is created unasked.
func startKafka(cfg config) (addr string, stop func(), err error) {
	cluster, err := kfake.NewCluster(
		kfake.Ports(cfg.kafkaPort),
		kfake.ClusterID("cartstream-embedded"),
		kfake.DataDir(filepath.Join(cfg.data, "kafka")),
	)
	if err != nil {
		return "", nil, err
	}
	return cluster.ListenAddrs()[0], cluster.Close, nil
}
