package cart_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// swallower stands before a Redis. Where armed, it takes the next answer and cuts its connection instead.
type swallower struct {
	net.Listener
	armed atomic.Bool
}

func swallow(t *testing.T, redis string) *swallower {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &swallower{Listener: listener}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", redis)
			if err != nil {
				_ = client.Close()
				continue
			}
			go func() {
				_, _ = io.Copy(server, client)
				_ = server.Close()
			}()
			go s.answer(client, server)
		}
	}()
	return s
}

func (s *swallower) answer(client, server net.Conn) {
	defer client.Close()
	defer server.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := server.Read(buffer)
		if err != nil || s.armed.CompareAndSwap(true, false) {
			return
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// away is a catalogue that can't be asked.
type away struct{ shelf }

func (away) Lookup(context.Context, string) (schemas.Book, error) {
	return schemas.Book{}, schemas.ErrUnavailable
}

func TestWhatFollowsALostAnswerIsOfUnknownOutcome(t *testing.T) {
	for claim, call := range map[string]func(context.Context, *cart.Store, cart.Request) error{
		"a refusal": func(ctx context.Context, s *cart.Store, r cart.Request) error {
			_, err := s.Remove(ctx, r, "emma")
			return err
		},
		"a condition that fails": func(ctx context.Context, s *cart.Store, r cart.Request) error {
			r.IfMatch = cart.IfMatch{Set: true}
			_, err := s.Clear(ctx, r)
			return err
		},
		"a catalogue that is away": func(ctx context.Context, s *cart.Store, r cart.Request) error {
			_, err := s.Add(ctx, r, "emma", 1)
			return err
		},
	} {
		t.Run(claim, func(t *testing.T) {
			proxy := swallow(t, enginetest.Redis(t))
			s := open(t, func(o *cart.Options) { o.Catalogue = away{} }, proxy.Addr().String())
			raise(t, s, cart.Ready)
			if _, err := s.Get(t.Context(), "u1"); err != nil {
				t.Fatal(err)
			}
			proxy.armed.Store(true)
			err := call(t.Context(), s, cart.Request{User: "u1", Key: "k"})
			var u *cart.Unavailable
			if !errors.As(err, &u) || u.Applied != cart.MaybeApplied {
				t.Fatalf("%v, want unavailable and unknown", err)
			}
			var mismatch *cart.VersionMismatch
			if errors.Is(err, cart.ErrLineNotFound) || errors.As(err, &mismatch) {
				t.Fatalf("%v also counts as a refusal", err)
			}
		})
	}
}
