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

// swallower stands before a Redis. Where armed, it takes the next answer, and gives another instead, or cuts the connection
// where it has none.
type swallower struct {
	net.Listener
	armed   atomic.Bool
	instead string
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
		if err != nil {
			return
		}
		if s.armed.CompareAndSwap(true, false) {
			if s.instead == "" {
				return
			}
			n = copy(buffer, "-"+s.instead+"\r\n")
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

func TestAServerThatRefusesDidNothing(t *testing.T) {
	for claim, answer := range map[string]string{
		"it loads its data":               "LOADING Redis is loading the dataset in memory",
		"it can't write its disk":         "MISCONF Errors writing to the AOF file: No space left on device",
		"it has no memory":                "OOM command not allowed when used memory > 'maxmemory'.",
		"it is a replica":                 "READONLY You can't write against a read only replica.",
		"a script takes too long":         "BUSY Redis is busy running a script.",
		"its cluster is down":             "CLUSTERDOWN The cluster is down",
		"its master is away":              "MASTERDOWN Link with MASTER is down",
		"too few replicas follow":         "NOREPLICAS Not enough good replicas to write.",
		"a slot is half moved":            "TRYAGAIN Multiple keys request during rehashing of slot",
		"it wants a password":             "NOAUTH Authentication required.",
		"it ran the script up to a fault": "ERR user_script:1: Script attempted to access a non local key in a cluster node",
	} {
		t.Run(claim, func(t *testing.T) {
			proxy := swallow(t, enginetest.Redis(t))
			proxy.instead = answer
			s := open(t, nil, proxy.Addr().String())
			raise(t, s, cart.Ready)
			if _, err := s.Get(t.Context(), "u1"); err != nil {
				t.Fatal(err)
			}
			proxy.armed.Store(true)
			_, err := s.Add(t.Context(), cart.Request{User: "u1"}, "emma", 1)
			var u *cart.Unavailable
			if !errors.As(err, &u) || u.Applied != cart.NotApplied || u.RetryAfter <= 0 || !errors.Is(err, schemas.ErrUnavailable) {
				t.Fatalf("%v, want unavailable, and not applied", err)
			}
		})
	}
}
