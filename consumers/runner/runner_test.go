package runner_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cartstream/consumers/runner"
)

func TestAPoisonRecordIsParkedWhileOthersGoOn(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 2)
	k.write(t, 0, "a", "a0")
	at := k.put(t, &kgo.Record{Topic: in, Key: []byte("b"), Value: []byte("poison"),
		Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte("b:1:1")}}})
	k.write(t, 0, "a", "a1")
	k.write(t, 0, "c", "garbled")
	k.write(t, 0, "c", "null")
	k.write(t, 1, "d", "d0")
	var s seen
	r := run(t, k, consumer(&s, nil))
	until(t, "all good records are handled", func() bool { return s.has("a0", "a1", "d0") })
	until(t, "the offsets are committed", func() bool { return k.committed("g", 0) == 5 && k.committed("g", 1) == 1 })

	letters := k.read(t, dlq)
	classes := map[string]string{}
	for _, l := range letters {
		h := headers(l)
		classes[h["__dlq.errors.offset"]] = h["dlq.class"]
		if h["__dlq.errors.topic"] != in || h["__dlq.errors.group"] != "g" || h["__dlq.errors.partition"] != "0" {
			t.Errorf("headers %v", h)
		}
		if h["__dlq.errors.offset"] == fmt.Sprint(at) && (h["ce_id"] != "b:1:1" || string(l.Key) != "b" || string(l.Value) != "poison") {
			t.Errorf("letter %s of %s, headers %v", l.Value, l.Key, h)
		}
		if h["__dlq.errors.offset"] == "4" && l.Value != nil {
			t.Errorf("the null became %q", l.Value)
		}
	}
	if want := map[string]string{"1": "rejected", "3": "undecodable", "4": "undecodable"}; fmt.Sprint(classes) != fmt.Sprint(want) {
		t.Errorf("letters %v, want %v", classes, want)
	}
	for name, want := range map[string]float64{
		"cartstream_consumer_records_total": 6, "cartstream_consumer_parked_total": 3, "cartstream_consumer_lag_seconds": 0,
	} {
		if got := r.metric(t, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if r.metric(t, "cartstream_consumer_batches_total") < 2 {
		t.Error("no batches were counted")
	}
}

func headers(r *kgo.Record) map[string]string {
	m := map[string]string{}
	for _, h := range r.Headers {
		m[h.Key] = string(h.Value)
	}
	return m
}

func TestAnOutageParksNothingAndOnePartitionStopsNoOther(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 2)
	var s seen
	var away atomic.Bool
	away.Store(true)
	r := run(t, k, consumer(&s, func(_ context.Context, batch []runner.Record[string]) error {
		if batch[0].Partition == 0 && away.Load() {
			return errAway
		}
		return nil
	}))
	old := time.Now().Add(-time.Hour)
	k.put(t, &kgo.Record{Topic: in, Partition: 0, Key: []byte("a"), Value: []byte("a0"), Timestamp: old})
	for _, v := range numbers("b", 50) {
		k.write(t, 1, "b", v)
	}
	until(t, "the other partition is done", func() bool { return s.has(numbers("b", 50)...) })
	until(t, "it was tried again and again", func() bool { return r.metric(t, "cartstream_consumer_retries_total") > 4 })
	if lag := r.metric(t, "cartstream_consumer_lag_seconds"); lag < 3600 || lag > 3700 {
		t.Errorf("the lag is %v seconds", lag)
	}
	if at := k.committed("g", 0); at > 0 {
		t.Errorf("committed %d", at)
	}
	away.Store(false)
	until(t, "the record is done", func() bool { return s.has("a0") && k.committed("g", 0) == 1 })
	if letters := k.read(t, dlq); len(letters) > 0 {
		t.Errorf("%d letters", len(letters))
	}
}

func TestALetterThatTheTopicDoesNotTakeHoldsOnlyItsPartition(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 2)
	fault := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: dlq, Err: kerr.TopicAuthorizationFailed, Count: -1})
	var s seen
	run(t, k, consumer(&s, nil))
	k.write(t, 0, "a", "poison")
	k.write(t, 0, "a", "a1")
	k.write(t, 1, "b", "b0")
	until(t, "the other partition goes on", func() bool { return s.has("b0") && k.committed("g", 1) == 1 })
	until(t, "the letter was tried again", func() bool { return fault.Hits() > 3 })
	if at := k.committed("g", 0); at > 0 {
		t.Errorf("committed %d", at)
	}
	fault.Remove()
	until(t, "the partition goes on", func() bool { return s.has("a1") && k.committed("g", 0) == 2 })
	if letters := k.read(t, dlq); len(letters) != 1 {
		t.Errorf("%d letters", len(letters))
	}
}

func TestATopicThatComesLaterIsWaitedFor(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 1)
	var s seen
	c := consumer(&s, nil)
	c.Topics = []string{"later"}
	run(t, k, c)
	until(t, "it asked for the topic", func() bool {
		return k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Observe: true}).Wait(t.Context(), 1) == nil
	})
	if err := k.CreateTopic("later", 1, nil); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	k.put(t, &kgo.Record{Topic: "later", Key: []byte("a"), Value: []byte("v0")})
	until(t, "the record is handled", func() bool { return s.has("v0") })
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("that took %s", took)
	}
}

func TestAKafkaThatComesLaterIsWaitedFor(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 1)
	k.write(t, 0, "a", "v0")
	wire := newWire(k)
	wire.cut()
	var s seen
	r := runWith(t, runner.Config{Kafka: wire.options()}, consumer(&s, nil))
	until(t, "it tried to connect", func() bool { return wire.dials.Load() > 1 })
	wire.mend()
	until(t, "the record is handled", func() bool { return s.has("v0") })
	wire.cut()
	began := time.Now()
	r.stop()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("a drain without Kafka took %s", took)
	}
}

func TestAGroupWhoseOffsetIsBehindTheLogStartsAtItsBeginning(t *testing.T) {
	t.Parallel()
	for claim, c := range map[string]struct {
		commit int64
		delete int64
		want   []string
	}{
		"no offset yet":                    {-1, 0, numbers("v", 10)},
		"its offset was deleted":           {2, 5, numbers("v", 10)[5:]},
		"its offset is beyond the log end": {100, 0, numbers("v", 10)},
	} {
		t.Run(claim, func(t *testing.T) {
			k := newKafka(t, 1)
			for _, v := range numbers("v", 10) {
				k.write(t, 0, "a", v)
			}
			if c.commit >= 0 {
				var o kadm.Offsets
				o.AddOffset(in, 0, c.commit, -1)
				if err := kadm.NewClient(k.Client).CommitAllOffsets(t.Context(), "g", o); err != nil {
					t.Fatal(err)
				}
			}
			if err := k.DeleteRecords(in, 0, c.delete); err != nil {
				t.Fatal(err)
			}
			var s seen
			run(t, k, consumer(&s, nil))
			until(t, "the last record is handled", func() bool { return s.has("v9") })
			if got := s.all(); !slices.Equal(got, c.want) {
				t.Errorf("handled %q, want %q", got, c.want)
			}
		})
	}
}

func TestAConsumerThatMayNotReadIsThereOnceItMay(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 1)
	fault := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: in, Err: kerr.TopicAuthorizationFailed, Count: -1})
	var s seen
	run(t, k, consumer(&s, nil))
	k.write(t, 0, "a", "v0")
	until(t, "it was refused by more than one session", func() bool { return fault.Hits() > 2 })
	fault.Remove()
	until(t, "the record is handled", func() bool { return s.has("v0") })
}

func TestAPartitionThatIsStuckHoldsBoundedMemory(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 2)
	var s seen
	release := make(chan struct{})
	c := consumer(&s, func(_ context.Context, batch []runner.Record[string]) error {
		if batch[0].Partition == 0 {
			<-release
		}
		return nil
	})
	c.MaxBatch = 10
	value := strings.Repeat("x", 10_000)
	for i := range 2000 {
		k.Produce(t.Context(), &kgo.Record{Topic: in, Partition: 0, Key: []byte("a"), Value: fmt.Appendf(nil, "%d%s", i, value)}, nil)
	}
	if err := k.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	fetched := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Observe: true, Count: -1, Topic: in, Partitions: []int32{0}})
	run(t, k, c)
	for _, v := range numbers("b", 300) {
		k.write(t, 1, "b", v)
	}
	until(t, "the other partition is done", func() bool { return s.has(numbers("b", 300)...) })
	if n := fetched.Hits(); n > 4 { // of 1 MiB each, where all of it would be 20
		t.Errorf("the stuck partition was fetched %d times", n)
	}
	close(release)
	until(t, "all of the stuck partition is done", func() bool { return len(s.all()) == 2300 })
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 1)
	var s seen
	r := run(t, k, consumer(&s, nil))
	k.write(t, 0, "a", "v0")
	until(t, "it runs", func() bool { return s.has("v0") })
	if err := r.Pause("g"); err != nil {
		t.Fatal(err)
	}
	k.write(t, 0, "a", "v1")
	until(t, "the record was fetched", func() bool { return r.metric(t, "cartstream_consumer_lag_seconds") > 0 })
	if s.has("v1") {
		t.Error("it was handled all the same")
	}
	if err := r.Resume("g"); err != nil {
		t.Fatal(err)
	}
	until(t, "the record is handled", func() bool { return s.has("v1") })
}

func TestAnUnknownConsumerCanNotBePaused(t *testing.T) {
	t.Parallel()
	r, err := runner.New(runner.Config{DeadLetters: dlq})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{r.Pause("nobody"), r.Resume("nobody")} {
		if err == nil || !strings.Contains(err.Error(), "nobody") {
			t.Errorf("error %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := consumer(&seen{}, nil)
	with := func(f func(*runner.Consumer[string])) runner.Consumer[string] { c := good; f(&c); return c }
	for fault, consumers := range map[string][]runner.Runnable{
		"two consumers are named g": {good, good},
		"without a group":           {with(func(c *runner.Consumer[string]) { c.Group = "" })},
		"no topics":                 {with(func(c *runner.Consumer[string]) { c.Topics = nil })},
		"Decode and Handle":         {with(func(c *runner.Consumer[string]) { c.Handle = nil })},
		"negative limit":            {with(func(c *runner.Consumer[string]) { c.MaxBatch = -1 })},
		"consumer t: Decode and":    {runner.Transactional[string]{Group: "t", Topics: []string{in}, Decode: text}},
	} {
		t.Run(fault, func(t *testing.T) {
			_, err := runner.New(runner.Config{DeadLetters: dlq}, consumers...)
			if err == nil || !strings.Contains(err.Error(), fault) {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, err := runner.New(runner.Config{}, good); err == nil {
		t.Error("no topic for dead letters was accepted")
	}
	if _, err := runner.New(runner.Config{DeadLetters: dlq, Kafka: []kgo.Opt{kgo.SeedBrokers()}}, good); err == nil {
		t.Error("no brokers were accepted")
	}
}
