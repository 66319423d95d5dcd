package env

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Producer is a client for producing that also reaches topics which were deleted and made anew: a kgo.Client never takes
// over such a topic's new id and fails its records for ever.
//
// A new client takes its place then. To purge the topic from the old one would not do: its sequence numbers would begin
// anew under the same producer id, and a broker that was reached by the topic's name meanwhile could take a batch for one
// that it has, and acknowledge it unwritten.
type Producer struct {
	options []kgo.Opt

	mu      sync.Mutex
	client  *kgo.Client
	closed  bool
	closing sync.WaitGroup // of clients that were replaced
}

// NewProducer returns a Producer whose clients have these options. It dials nothing.
func NewProducer(options ...kgo.Opt) (*Producer, error) {
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("kafka options: %w", err)
	}
	return &Producer{options: options, client: client}, nil
}

// Client returns the client to produce with. It may be closed by the time it is used, and fails records then.
func (p *Producer) Client() *kgo.Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.client
}

// TryProduce is that of a kgo.Client: it never waits, and fails a record at once that the client has no room for.
func (p *Producer) TryProduce(ctx context.Context, r *kgo.Record, promise func(*kgo.Record, error)) {
	client := p.Client()
	client.TryProduce(ctx, r, func(r *kgo.Record, err error) {
		p.Refused(client, err)
		promise(r, err)
	})
}

// Refused has to be called with the error of each record that the client failed, or of one of several that were produced together. It returns at once,
// so that a promise may call it. Where the topic was made anew it replaces the client, which fails what it still holds, and
// reports that it did.
func (p *Producer) Refused(client *kgo.Client, err error) (replaced bool) {
	if !errors.Is(err, kerr.UnknownTopicID) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || client != p.client {
		return false
	}
	anew, err := kgo.NewClient(p.options...)
	if err != nil {
		return false // can't be: it was made of them before
	}
	p.client = anew
	p.closing.Go(client.Close)
	return true
}

// Close fails what isn't acknowledged yet and ends all clients. It may be called more than once.
func (p *Producer) Close() {
	p.mu.Lock()
	p.closed = true
	client := p.client
	p.mu.Unlock()
	client.Close()
	p.closing.Wait()
}
