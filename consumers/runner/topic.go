package runner

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// LetterTopic is the Parker that writes letters to the topic that they name. It may be used by many goroutines.
type LetterTopic struct{ client *kgo.Client }

// letterBytes is the size of the largest batch of dead letters: a record of the largest size that topics take, and its
// headers.
const letterBytes = 5 << 20

// NewLetterTopic returns a LetterTopic with a client of its own, of these options. It dials nothing.
func NewLetterTopic(kafka []kgo.Opt) (*LetterTopic, error) {
	own := []kgo.Opt{
		kgo.ProducerBatchMaxBytes(letterBytes),
		// A letter that Kafka doesn't take must not be kept here while its partition tries it again, even where nobody knows
		// whether it arrived: a repeat has the same id.
		kgo.RecordDeliveryTimeout(10 * time.Second),
		kgo.AllowIdempotentProduceCancellation(),
		kgo.MetadataMinAge(250 * time.Millisecond),
	}
	client, err := kgo.NewClient(append(own, kafka...)...)
	if err != nil {
		return nil, fmt.Errorf("runner: kafka options: %w", err)
	}
	return &LetterTopic{client}, nil
}

// Close ends what is under way.
func (t *LetterTopic) Close() { t.client.Close() }

// Park returns once every letter is acknowledged by all in-sync replicas.
func (t *LetterTopic) Park(ctx context.Context, letters []*kgo.Record) error {
	acks := make(chan error, len(letters))
	for _, l := range letters {
		again := *l // a record keeps the ctx of its first Produce, and would fail with it
		t.client.Produce(ctx, &again, func(_ *kgo.Record, err error) { acks <- err })
	}
	for range letters {
		select {
		case err := <-acks:
			if err != nil {
				return fmt.Errorf("write dead letter: %w", err)
			}
		case <-ctx.Done(): // a record on its way can't be called back
			return fmt.Errorf("write dead letter: %w", ctx.Err())
		}
	}
	return nil
}
