package relay

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/schemas"
)

// producer returns the options of the Kafka client. The client is idempotent, waits for all in-sync replicas and tries
// for ever, which are its defaults. It holds as much as the rounds in flight: each shard has one at most, of bounded size.
func producer(cfg Config) ([]kgo.Opt, error) {
	options, err := cfg.Kafka.Options()
	if err != nil {
		return nil, err
	}
	options = append(options,
		kgo.ProducerLinger(0),
		kgo.RecordPartitioner(partitioner{}),
		kgo.ProducerBatchMaxBytesFn(batchBytes),
		// Never reached, so that producing never waits.
		kgo.MaxBufferedRecords(cfg.Shards*(roundEntries+1)),
		// A missing topic is created, by us or by an operator: until then its records wait like any others.
		kgo.UnknownTopicRetries(-1),
		// A change after a quiet minute does not wait for a connection; brokers close after ten.
		kgo.ConnIdleTimeout(5*time.Minute),
		kgo.RetryBackoffFn(retryBackoff),
		kgo.WithLogger(clientLog{cfg.Logger}),
	)
	return append(options, cfg.Client...), nil
}

// retryBackoff is how long the client waits after so many failures in a row. When Kafka is back, this is what users see.
func retryBackoff(failures int) time.Duration {
	return jitter(min(100*time.Millisecond<<min(failures, 10), 2*time.Second))
}

// defaultBatchBytes is what a broker takes where a topic doesn't say otherwise (message.max.bytes), less a margin.
const defaultBatchBytes = 1_000_000

// batchLimits are the topics that say otherwise.
var batchLimits = func() map[string]int32 {
	limits := map[string]int32{}
	for _, t := range schemas.Topics(1, 1) {
		if n, err := strconv.ParseInt(t.Configs["max.message.bytes"], 10, 32); err == nil {
			limits[t.Name] = int32(n)
		}
	}
	return limits
}()

// batchBytes returns how large a batch, and with it a single record, of the topic may be.
func batchBytes(topic string) int32 {
	if n, ok := batchLimits[topic]; ok {
		return n
	}
	return defaultBatchBytes
}

// clientLog hands on what the Kafka client warns of.
type clientLog struct{ *slog.Logger }

func (clientLog) Level() kgo.LogLevel { return kgo.LogLevelWarn }

func (l clientLog) Log(_ kgo.LogLevel, msg string, pairs ...any) {
	l.WarnContext(context.Background(), "kafka client", append([]any{"event", msg}, pairs...)...)
}
