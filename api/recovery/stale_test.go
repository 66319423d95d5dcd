package recovery_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/api/cart"
	"cartstream/api/recovery"
)

// append puts a change into Kafka that persist has not read.
func (e *engines) append(t *testing.T) {
	t.Helper()
	if _, err := kadm.NewClient(e.kafka).CreateTopic(t.Context(), 1, 1, nil, e.topic); err != nil {
		t.Fatal(err)
	}
	if err := e.kafka.ProduceSync(t.Context(), &kgo.Record{Topic: e.topic, Key: []byte("u1"), Value: []byte("{}")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func TestAnInstanceThatMissedALossDoesNotBelieveWhatItKnewOfTheOneBefore(t *testing.T) {
	e := setup(t)
	e.store(t, "u1", 7, 3)
	slow := e.open(t, 8)
	missed := recovery.New(recovery.Config{
		Store: slow, Carts: e.carts, Kafka: kadm.NewClient(e.kafka), Topic: e.topic, PersistGroup: "persist",
		Instance: "slow", Log: slog.New(slog.DiscardHandler),
	})
	slow.RestoreWith(missed)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- missed.Run(ctx) }()
	eventually(t, "the stored cart", served(slow, "u1", 3))
	stop() // it goes on serving, but looks at nothing
	if err := <-ended; err != nil {
		t.Fatal(err)
	}

	e.append(t)
	client := redis.NewClient(&redis.Options{Addr: e.redis})
	defer client.Close()
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	e.run(t, e.open(t, 8), "fast")
	eventually(t, "the lost cart", func() error {
		v, err := slow.Get(t.Context(), "u1")
		if err == nil {
			t.Fatalf("version %d came back while MongoDB may lack changes that Kafka has", v.Version)
		}
		if !strings.Contains(err.Error(), "persist has not stored") {
			return err
		}
		return nil
	})
}

func TestWhatWasReadBeforeALossIsNotPutBackAfterIt(t *testing.T) {
	e := setup(t)
	e.store(t, "u1", 7, 3)
	s := e.open(t, 8)
	e.run(t, s, "one")
	eventually(t, "the stored cart", served(s, "u1", 3))
	v, err := s.Get(t.Context(), "u1")
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: e.redis})
	defer client.Close()
	e.append(t)
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another generation", func() error {
		_, err := s.Get(t.Context(), "u1")
		if err == nil || !strings.Contains(err.Error(), "persist has not stored") {
			return errors.Join(errors.New("not yet"), err)
		}
		return nil
	})
	if err := s.PutBack(t.Context(), cart.Generation{Number: v.Generation, Nonce: "before"}, v.Cart); !errors.Is(err, cart.ErrOvertaken) {
		t.Fatalf("%v, want ErrOvertaken", err)
	}
}

func TestReadinessDoesNotWaitForKafka(t *testing.T) {
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
	e.kafka.Close()
	e.kafka = nowhere
	r, _ := e.run(t, s, "one")
	eventually(t, "a lost shard", func() error {
		_, _ = s.Get(t.Context(), "u0")
		if ready, _ := s.Count(); ready == 0 {
			return errors.New("none has a generation")
		}
		return nil
	})
	began := time.Now()
	answers := make(chan time.Duration)
	for range 16 {
		go func() {
			_, _ = s.Get(context.Background(), "u1")
			answers <- time.Since(began)
		}()
	}
	counted := make(chan struct{})
	go func() {
		for range 20 {
			r.Count()
		}
		close(counted)
	}()
	select {
	case <-counted:
	case <-time.After(time.Second):
		t.Error("Count waits")
	}
	for range 16 {
		if took := <-answers; took > 5*time.Second {
			t.Errorf("a call took %v", took)
		}
	}
}
