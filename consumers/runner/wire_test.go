package runner_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// wire is the network between a client and Kafka. Cut, it is as if one of them were gone.
type wire struct {
	brokers []string
	dials   atomic.Int32

	mu    sync.Mutex
	isCut bool
	conns []net.Conn
}

func newWire(k *kafka) *wire { return &wire{brokers: k.brokers} }

func (w *wire) options(more ...kgo.Opt) []kgo.Opt {
	return append([]kgo.Opt{kgo.SeedBrokers(w.brokers...), kgo.Dialer(w.dial)}, more...)
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.dials.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.isCut {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errAway}
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err == nil {
		w.conns = append(w.conns, c)
	}
	return c, err
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = true
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = false
}
