package runner_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cartstream/consumers/runner"
)

func TestTheOrderOfAKeyIsKeptAcrossRebalances(t *testing.T) {
	t.Parallel()
	orderOfKeys(t, newKafka(t, 8), 500)
}

// orderOfKeys needs 8 partitions.
func orderOfKeys(t *testing.T, k *kafka, each int) {
	const keys = 16
	for n := range each {
		for key := range keys {
			name := fmt.Sprintf("k%d", key)
			k.Produce(t.Context(), &kgo.Record{Topic: in, Partition: int32(key % 8), Key: []byte(name),
				Value: fmt.Appendf(nil, "%s:%d", name, n)}, nil)
		}
	}
	if err := k.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
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
			if before, ok := last[key]; ok && n > before+1 || !ok && n > 0 {
				t.Errorf("key %s: %d came after %d", key, n, before)
			}
			last[key] = max(last[key], n)
			mu.Unlock()
			time.Sleep(2 * time.Millisecond)
			mu.Lock()
			inHand[key]--
			mu.Unlock()
		}
		return nil
	}
	done := func() (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, newest := range last {
			n += newest + 1
		}
		return n
	}
	var s seen
	c := consumer(&s, handle)
	c.MaxBatch = 20
	group := []*running{run(t, k, c)}
	share := func(n int) {
		t.Helper()
		until(t, fmt.Sprint(n, " members share the group"), func() bool { return k.members("g") == n })
		if done() == keys*each {
			t.Error("all was done before the group changed")
		}
	}
	share(1)
	group = append(group, run(t, k, c))
	share(2)
	group = append(group, run(t, k, c))
	share(3)
	group[0].stop()
	share(2)
	group[1].stop()
	share(1)
	run(t, k, c)
	share(2)
	until(t, "each key is done", func() bool { return done() == keys*each })
	if letters := k.read(t, dlq); len(letters) > 0 {
		t.Errorf("%d letters", len(letters))
	}
}

func TestAHandoverRepeatsNothingThatIsDone(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 4)
	var s seen
	first := run(t, k, consumer(&s, nil))
	for i := range 40 {
		k.write(t, int32(i%4), "a", fmt.Sprint("v", i))
	}
	until(t, "all is handled", func() bool { return s.has(numbers("v", 40)...) })
	second := run(t, k, consumer(&s, nil)) // takes partitions over before the commit interval is over
	until(t, "two members share the group", func() bool { return k.members("g") == 2 })
	first.stop()
	k.write(t, 0, "a", "last0")
	k.write(t, 3, "a", "last3")
	until(t, "the new ones are handled", func() bool { return s.has("last0", "last3") })
	if all := s.all(); len(all) != 42 {
		t.Errorf("%d records were handled, want 42", len(all))
	}
	second.stop()
}

func TestADrainFinishesTheBatchInHandCommitsItAndLeavesTheGroup(t *testing.T) {
	t.Parallel()
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
	if got, at := s.all(), k.committed("g", 0); len(got) == 0 || len(got) > 3 || at != int64(len(got)) {
		t.Errorf("%q are done, %d committed", got, at)
	}
	if n := len(k.GroupInfo("g").Members); n != 0 {
		t.Errorf("%d members", n)
	}
}

func TestACrashRepeatsWhatWasNotCommittedAndSkipsNothing(t *testing.T) {
	t.Parallel()
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
	crashed := runWith(t, runner.Config{Kafka: wire.options(kgo.SessionTimeout(k.session))}, c)
	<-entered
	until(t, "what is done is committed", func() bool { return k.committed("g", 0) == 6 })
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
	t.Parallel()
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
	until(t, "the second time is committed", func() bool { return k.committed("g", 0) == 1 })
	if calls.Load() != 2 || commits.Hits() != 1 {
		t.Errorf("%d calls, %d commits", calls.Load(), commits.Hits())
	}
}
