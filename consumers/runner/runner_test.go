package runner_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
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
	until(t, "the offsets are committed", func() bool { return k.committed(t, "g", 0) == 5 && k.committed(t, "g", 1) == 1 })

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
	if at := k.committed(t, "g", 0); at > 0 {
		t.Errorf("committed %d", at)
	}
	away.Store(false)
	until(t, "the record is done", func() bool { return s.has("a0") && k.committed(t, "g", 0) == 1 })
	if letters := k.read(t, dlq); len(letters) > 0 {
		t.Errorf("%d letters", len(letters))
	}
}

func TestTheOrderOfAKeyIsKeptAcrossRebalances(t *testing.T) {
	const keys, each = 16, 150
	k := newKafka(t, 8)
	var mu sync.Mutex
	last := map[string]int{}   // newest number of each key that is done
	inHand := map[string]int{} // members at work on a key
	handle := func(_ context.Context, batch []runner.Record[string]) error {
		for _, r := range batch {
			key := string(r.Key)
			var n int
			if _, err := fmt.Sscanf(r.Value, key+":%d", &n); err != nil {
				return runner.Permanent(err)
			}
			mu.Lock()
			if inHand[key]++; inHand[key] > 1 {
				t.Errorf("two members work on key %s at once", key)
			}
			if before, ok := last[key]; ok && n > before+1 {
				t.Errorf("key %s: %d came after %d", key, n, before)
			}
			last[key] = max(last[key], n)
			mu.Unlock()
			time.Sleep(time.Millisecond)
			mu.Lock()
			inHand[key]--
			mu.Unlock()
		}
		return nil
	}
	var s seen
	share := func(n int) {
		until(t, fmt.Sprint(n, " members share the group"), func() bool { return members(t, k, "g") == n })
	}
	group := []*running{run(t, k, consumer(&s, handle))}
	share(1)
	for n := range each {
		for key := range keys {
			name := fmt.Sprintf("k%d", key)
			k.Produce(t.Context(), &kgo.Record{Topic: in, Partition: int32(key % 8), Key: []byte(name),
				Value: fmt.Appendf(nil, "%s:%d", name, n)}, nil)
		}
		if err := k.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		switch n { // with much in hand
		case 20, 50:
			group = append(group, run(t, k, consumer(&s, handle)))
			share(len(group))
		case 80:
			group[0].stop()
			share(2)
		case 110:
			group[1].stop()
			group = append(group, run(t, k, consumer(&s, handle)))
			share(2)
		}
	}
	until(t, "each key is done", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for key := range keys {
			if last[fmt.Sprintf("k%d", key)] != each-1 {
				return false
			}
		}
		return true
	})
	if letters := k.read(t, dlq); len(letters) > 0 {
		t.Errorf("%d letters", len(letters))
	}
}

func TestAHandoverRepeatsNothingThatIsDone(t *testing.T) {
	k := newKafka(t, 4)
	var s seen
	first := run(t, k, consumer(&s, nil))
	for i := range 40 {
		k.write(t, int32(i%4), "a", fmt.Sprint("v", i))
	}
	until(t, "all is handled", func() bool { return s.has(numbers("v", 40)...) })
	second := run(t, k, consumer(&s, nil)) // takes partitions over before the commit interval is over
	until(t, "two members share the group", func() bool { return members(t, k, "g") == 2 })
	first.stop()
	k.write(t, 0, "a", "last0")
	k.write(t, 3, "a", "last3")
	until(t, "the new ones are handled", func() bool { return s.has("last0", "last3") })
	if all := s.all(); len(all) != 42 {
		t.Errorf("%d records were handled, want 42", len(all))
	}
	second.stop()
}

// members of a stable group that have partitions.
func members(t *testing.T, k *kafka, group string) int {
	t.Helper()
	groups, err := kadm.NewClient(k.Client).DescribeGroups(t.Context(), group)
	if err != nil || groups[group].State != "Stable" {
		return -1
	}
	n := 0
	for _, m := range groups[group].Members {
		if c, ok := m.Assigned.AsConsumer(); ok && len(c.Topics) > 0 {
			n++
		}
	}
	return n
}

func TestADrainFinishesTheBatchInHandCommitsItAndLeavesTheGroup(t *testing.T) {
	k := newKafka(t, 1)
	var s seen
	entered, release := make(chan struct{}, 1), make(chan struct{})
	c := consumer(&s, func(ctx context.Context, _ []runner.Record[string]) error {
		entered <- struct{}{}
		<-release
		return ctx.Err()
	})
	c.MaxBatch = 3
	for _, v := range numbers("v", 10) {
		k.write(t, 0, "a", v)
	}
	r := run(t, k, c)
	<-entered
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	select {
	case <-stopped:
		t.Fatal("the batch in hand was not waited for")
	case <-time.After(300 * time.Millisecond):
	}
	close(release)
	<-stopped
	if got, at := s.all(), k.committed(t, "g", 0); len(got) == 0 || len(got) > 3 || at != int64(len(got)) {
		t.Errorf("%q are done, %d committed", got, at)
	}
	groups, err := kadm.NewClient(k.Client).DescribeGroups(t.Context(), "g")
	if err != nil || len(groups["g"].Members) != 0 {
		t.Errorf("members %v, error %v", groups["g"].Members, err)
	}
}

func TestACrashRepeatsWhatWasNotCommittedAndSkipsNothing(t *testing.T) {
	k := newKafka(t, 1)
	for _, v := range numbers("v", 20) {
		k.write(t, 0, "a", v)
	}
	var s seen
	entered, release := make(chan struct{}, 1), make(chan struct{})
	c := consumer(&s, func(_ context.Context, batch []runner.Record[string]) error {
		if batch[0].Offset >= 6 {
			select {
			case entered <- struct{}{}:
			default:
			}
			<-release
			return errAway // the machine is off
		}
		return nil
	})
	c.MaxBatch = 3
	wire := newWire(k)
	crashed := runWith(t, runner.Config{Kafka: wire.options(kgo.SessionTimeout(time.Second))}, c)
	<-entered
	until(t, "what is done is committed", func() bool { return k.committed(t, "g", 0) == 6 })
	wire.cut()
	close(release)

	var after seen
	run(t, k, consumer(&after, nil))
	until(t, "the next process did the rest", func() bool { return after.has("v19") })
	if got, want := after.all(), numbers("v", 20)[6:]; !slices.Equal(got, want) {
		t.Errorf("it was given %q, want %q", got, want)
	}
	crashed.stop()
}

func TestAMemberThatLostItsPartitionsCommitsNothing(t *testing.T) {
	k := newKafka(t, 1)
	var s seen
	var calls atomic.Int32
	entered, release := make(chan struct{}, 1), make(chan struct{})
	run(t, k, consumer(&s, func(ctx context.Context, _ []runner.Record[string]) error {
		if calls.Add(1) == 1 {
			entered <- struct{}{}
			select { // a lost partition's Handle is told at once
			case <-ctx.Done():
			case <-release:
				t.Error("the ctx of Handle did not end")
			}
		}
		return nil
	}))
	k.write(t, 0, "a", "v0")
	<-entered
	commits := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Observe: true, Count: -1})
	k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID, TopLevel: true})
	until(t, "it is handled again", func() bool { return calls.Load() >= 2 })
	close(release)
	until(t, "the second time is committed", func() bool { return k.committed(t, "g", 0) == 1 })
	if calls.Load() != 2 || commits.Hits() != 1 {
		t.Errorf("%d calls, %d commits", calls.Load(), commits.Hits())
	}
}

func TestALetterThatTheTopicDoesNotTakeHoldsOnlyItsPartition(t *testing.T) {
	k := newKafka(t, 2)
	fault := k.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: dlq, Err: kerr.TopicAuthorizationFailed, Count: -1})
	var s seen
	run(t, k, consumer(&s, nil))
	k.write(t, 0, "a", "poison")
	k.write(t, 0, "a", "a1")
	k.write(t, 1, "b", "b0")
	until(t, "the other partition goes on", func() bool { return s.has("b0") && k.committed(t, "g", 1) == 1 })
	until(t, "the letter was tried again", func() bool { return fault.Hits() > 3 })
	if at := k.committed(t, "g", 0); at > 0 {
		t.Errorf("committed %d", at)
	}
	fault.Remove()
	until(t, "the partition goes on", func() bool { return s.has("a1") && k.committed(t, "g", 0) == 2 })
	if letters := k.read(t, dlq); len(letters) != 1 {
		t.Errorf("%d letters", len(letters))
	}
}

func TestATopicThatComesLaterIsWaitedFor(t *testing.T) {
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
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("that took %s", took)
	}
}

func TestAKafkaThatComesLaterIsWaitedFor(t *testing.T) {
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

func TestAPartitionThatIsStuckHoldsBoundedMemory(t *testing.T) {
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
