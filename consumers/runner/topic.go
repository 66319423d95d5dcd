package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// LetterTopic is the Parker that writes letters to the topic that they name. It may be used by many goroutines.
type LetterTopic struct {
	options []kgo.Opt

	mu     sync.Mutex
	client *kgo.Client
	closed bool
}

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
	own = append(own, kafka...)
	client, err := kgo.NewClient(own...)
	if err != nil {
		return nil, fmt.Errorf("runner: kafka options: %w", err)
	}
	return &LetterTopic{options: own, client: client}, nil
}

// Close ends what is under way.
func (t *LetterTopic) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.client.Close()
}

func (t *LetterTopic) current() *kgo.Client {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.client
}

// follow replaces a client by which a topic that was deleted and made anew can't be reached any more. What others wait for
// fails, and comes again.
func (t *LetterTopic) follow(old *kgo.Client) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client != old || t.closed {
		return nil
	}
	client, err := kgo.NewClient(t.options...)
	if err != nil {
		return fmt.Errorf("kafka options: %w", err)
	}
	t.client = client
	old.Close()
	return nil
}

// Park returns once every letter is acknowledged by all in-sync replicas.
func (t *LetterTopic) Park(ctx context.Context, letters []*kgo.Record) error {
	client := t.current()
	acks := make(chan error, len(letters))
	for _, l := range letters {
		again := *l // a record keeps the ctx of its first Produce, and would fail with it
		client.Produce(ctx, &again, func(_ *kgo.Record, err error) { acks <- err })
	}
	for range letters {
		select {
		case err := <-acks:
			if errors.Is(err, kerr.UnknownTopicID) {
				err = errors.Join(err, t.follow(client))
			}
			if err != nil {
				return fmt.Errorf("write dead letter: %w", err)
			}
		case <-ctx.Done(): // a record on its way can't be called back
			return fmt.Errorf("write dead letter: %w", ctx.Err())
		}
	}
	return nil
}
