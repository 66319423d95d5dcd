package book

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/schemas/env"
)

// NewProducer returns a producer that suits a Store: idempotent, acknowledged by all in-sync replicas, without linger. It
// waits for no broker. What Kafka hasn't taken after ten seconds fails; the book stays marked, so that it is tried again
// with what it is by then. The caller closes it, after Store.Run has returned.
func NewProducer(k env.Kafka, more ...kgo.Opt) (*env.Producer, error) {
	o, err := k.Options()
	if err != nil {
		return nil, err
	}
	o = append(o,
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), // murmur2 of the key, as every client does
		kgo.ProducerLinger(0),
		kgo.RecordDeliveryTimeout(10*time.Second),
		kgo.ProduceRequestTimeout(5*time.Second),
		kgo.MaxBufferedRecords(2*waiting),
	)
	return env.NewProducer(append(o, more...)...)
}
