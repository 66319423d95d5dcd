package parking_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cartstream/consumers/parking"
	"cartstream/consumers/runner"
)

// broker is a Kafka with the topics "in" and "dlq".
type broker struct {
	*kfake.Cluster
	client *kgo.Client
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "in", "dlq"), kfake.GroupMinSessionTimeout(time.Second))
	must(t, err)
	t.Cleanup(c.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("dlq"))
	must(t, err)
	t.Cleanup(client.Close)
	return &broker{c, client}
}

// written are the ids of all letters in the topic, each once, once there are n.
func (b *broker) written(t *testing.T, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	var found []string
	for len(found) < n {
		fetches := b.client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatalf("the topic has %d letters, want %d", len(found), n)
		}
		found = append(found, ids(fetches.Records())...)
		slices.Sort(found)
		found = slices.Compact(found)
	}
	return found
}

func (b *broker) refuse(err *kerr.Error) *kfake.FaultHandle {
	return b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "dlq", Err: err, Count: -1})
}

// parked is one life of a process: a Parker on the broker whose MongoDB is the store and whose spool is in dir.
func parked(t *testing.T, b *broker, mongo parking.Holder, dir string) (*parking.Parker, func()) {
	t.Helper()
	topic, err := runner.NewLetterTopic([]kgo.Opt{kgo.SeedBrokers(b.ListenAddrs()...), kgo.ProducerBatchCompression(kgo.NoCompression())})
	must(t, err)
	s := spool(t, dir, roomy)
	p := parking.New(topic, slog.New(slog.DiscardHandler), prometheus.NewRegistry(),
		parking.Place{Name: "mongodb", Holder: mongo}, parking.Place{Name: "spool", Holder: s})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	end := sync.OnceFunc(func() {
		cancel()
		<-ended
		topic.Close()
		_ = s.Close()
	})
	t.Cleanup(end)
	return p, end
}

func TestLettersOfAnOutageAreInTheTopicAfterARestart(t *testing.T) {
	b, dir := newBroker(t), t.TempDir()
	mongo := &store{}
	refused := b.refuse(kerr.TopicAuthorizationFailed)
	p, end := parked(t, b, mongo, dir)
	var want []string
	for n := range 40 {
		if n == 20 {
			mongo.set("away")
		}
		id := fmt.Sprintf("%03d", n)
		want = append(want, id)
		must(t, p.Park(t.Context(), letters(id)))
	}
	end()
	refused.Remove()
	mongo.set("")
	parked(t, b, mongo, dir)
	if got := b.written(t, 40); !slices.Equal(got, want) {
		t.Errorf("the topic has %q", got)
	}
	until(t, "nothing is held", func() bool { return len(mongo.has()) == 0 })
	until(t, "the spool is empty", func() bool { info, err := os.Stat(file(dir)); return err == nil && info.Size() == 0 })
}

func TestLettersThatKafkaNeverTakesHoldUpNoOther(t *testing.T) {
	b := newBroker(t)
	// Only batches that hold an odd letter are refused.
	b.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "dlq", Err: kerr.MessageTooLarge, Count: -1, When: func(r kmsg.Request) bool {
		for _, topic := range r.(*kmsg.ProduceRequest).Topics {
			for _, p := range topic.Partitions {
				if bytes.Contains(p.Records, []byte("v-odd")) { // not compressed
					return true
				}
			}
		}
		return false
	}})
	odd := make([]string, 45) // pages full of them
	for i := range odd {
		odd[i] = fmt.Sprintf("odd%02d", i)
	}
	mongo := &store{parked: letters(append(append([]string{"a"}, odd...), "b")...)}
	parked(t, b, mongo, t.TempDir())
	if got := b.written(t, 2); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the topic has %q", got)
	}
	until(t, "only the odd ones are held", func() bool { return slices.Equal(mongo.has(), odd) })
}

// A runner whose topic for dead letters refuses them goes on, with the letter elsewhere.
func TestAPoisonRecordStopsNothingWhileTheTopicIsAway(t *testing.T) {
	for claim, group := range map[string]func() runner.Runnable{
		"of a consumer": func() runner.Runnable {
			return runner.Consumer[string]{Group: "g", Topics: []string{"in"}, Decode: decode,
				Handle: func(context.Context, []runner.Record[string]) error { return nil }}
		},
		"of a transactional one": func() runner.Runnable {
			return runner.Transactional[string]{Group: "g", Topics: []string{"in"}, Decode: decode,
				Handle: func(context.Context, []runner.Record[string]) ([]*kgo.Record, error) { return nil, nil }}
		},
	} {
		t.Run(claim, func(t *testing.T) {
			b, dir := newBroker(t), t.TempDir()
			mongo := &store{mode: "away"}
			refused := b.refuse(kerr.TopicAuthorizationFailed)
			p, _ := parked(t, b, mongo, dir)
			r, err := runner.New(runner.Config{Kafka: []kgo.Opt{kgo.SeedBrokers(b.ListenAddrs()...)}, DeadLetters: "dlq", Parker: p}, group())
			must(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- r.Run(ctx) }()
			defer func() { cancel(); must(t, <-ended) }()
			for _, v := range []string{"fine", "garbled", "fine", "garbled", "fine"} {
				must(t, b.client.ProduceSync(t.Context(), &kgo.Record{Topic: "in", Key: []byte("k"), Value: []byte(v)}).FirstErr())
			}
			until(t, "all records are done", func() bool {
				offsets, err := kadm.NewClient(b.client).FetchOffsets(t.Context(), "g")
				if err != nil {
					return false
				}
				at, _ := offsets.Lookup("in", 0)
				return at.At >= 5
			})
			refused.Remove()
			b.written(t, 2)
		})
	}
}

func decode(b []byte) (string, error) {
	if string(b) == "garbled" {
		return "", errAway
	}
	return string(b), nil
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
