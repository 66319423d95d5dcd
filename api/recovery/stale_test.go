package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/api/cart"
)

func TestWhatWasReadBeforeALossIsNotPutBackAfterIt(t *testing.T) {
	e := setup(t)
	e.create(t)
	e.keep(t, "u1", 7, 3)
	s := e.open(t, 8)
	e.run(t, s, "one")
	eventually(t, "the stored cart", served(s, "u1", 3))
	v, err := s.Get(t.Context(), "u1")
	if err != nil {
		t.Fatal(err)
	}
	e.loses(t)
	eventually(t, "another generation", func() error {
		again, err := s.Get(t.Context(), "u1")
		if err == nil && again.Generation == v.Generation {
			err = errors.New("the same")
		}
		return err
	})
	if err := s.PutBack(t.Context(), cart.Generation{Number: v.Generation, Nonce: "before"}, v.Cart); !errors.Is(err, cart.ErrOvertaken) {
		t.Fatalf("%v, want ErrOvertaken", err)
	}
}

func TestNobodyWaitsForAKafkaThatIsSilent(t *testing.T) {
	e := setup(t)
	s := e.open(t, 8)
	silent, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	nowhere, err := kgo.NewClient(kgo.SeedBrokers(silent.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	defer nowhere.Close()
	c := e.config(t, s, "one")
	c.Kafka = kadm.NewClient(nowhere)
	e.start(t, c)
	eventually(t, "a recovery at work", func() error {
		keys, err := e.redis.Keys(t.Context(), "*:g").Result()
		if err == nil && len(keys) < 8 {
			err = fmt.Errorf("%d shards have a generation", len(keys))
		}
		return err
	})
	began := time.Now()
	answers := make(chan error)
	for range 16 {
		go func() {
			_, err := s.Get(context.Background(), "u1")
			answers <- err
		}()
	}
	for range 16 {
		var u *cart.Unavailable
		if err := <-answers; !errors.As(err, &u) || !u.Recovering || time.Since(began) > 5*time.Second {
			t.Errorf("%v after %v, want unavailable and recovering at once", err, time.Since(began))
		}
	}
}
