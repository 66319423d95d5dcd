package runner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cartstream/consumers/runner"
)

// letters waits for n letters and returns them.
func (k *kafka) letters(t *testing.T, n int) []*kgo.Record {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.brokers...), kgo.ConsumeTopics(dlq), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all []*kgo.Record
	for len(all) < n {
		all = append(all, cl.PollFetches(ctx).Records()...)
		if ctx.Err() != nil {
			t.Fatalf("%d letters, not %d", len(all), n)
		}
	}
	if len(all) > n {
		t.Fatalf("%d letters, not %d", len(all), n)
	}
	return all
}

func TestAReplayReachesItsGroupAndNoOther(t *testing.T) {
	k := newKafka(t, 1)
	var mended atomic.Bool
	mine, others := &seen{}, &seen{}
	c := consumer(mine, nil)
	accept := c.Handle
	c.Handle = func(ctx context.Context, batch []runner.Record[string]) error {
		if batch[0].Value == "p0" && !mended.Load() { // the only record until then
			return runner.Permanent(errors.New("not yet"))
		}
		return accept(ctx, batch)
	}
	other := consumer(others, nil)
	other.Group = "other"
	r := run(t, k, c, other)
	k.write(t, 0, "a", "p0")
	letter := k.letters(t, 1)[0]
	until(t, "the other group has it", func() bool { return others.has("p0") })

	mended.Store(true)
	if err := r.Replay(t.Context(), letter); err != nil {
		t.Fatal(err)
	}
	if got := mine.all(); !slices.Equal(got, []string{"p0"}) {
		t.Errorf("its group got %q", got)
	}
	k.write(t, 0, "a", "p1")
	until(t, "both go on", func() bool { return mine.has("p1") && others.has("p1") })
	if got := others.all(); !slices.Equal(got, []string{"p0", "p1"}) {
		t.Errorf("the other group got %q", got)
	}
	if got := len(k.read(t, dlq)); got != 1 {
		t.Errorf("%d letters", got)
	}
}

func TestAReplayThatFailsIsTheSameLetterAgain(t *testing.T) {
	for claim, c := range map[string]struct {
		value    string
		class    string
		attempts string
	}{
		"rejected":    {"poison", "rejected", "2"},
		"exhausted":   {"refused", "exhausted", "20"},
		"undecodable": {"garbled", "undecodable", "2"},
		"null":        {"null", "undecodable", "2"},
	} {
		t.Run(claim, func(t *testing.T) {
			k := newKafka(t, 1)
			r := run(t, k, consumer(&seen{}, func(_ context.Context, batch []runner.Record[string]) error {
				if batch[0].Value == "refused" {
					return runner.Refused(errors.New("no"))
				}
				return nil
			}))
			k.write(t, 0, "a", c.value)
			first := k.letters(t, 1)[0]
			err := r.Replay(t.Context(), first)
			var failed *runner.Failed
			if !errors.As(err, &failed) {
				t.Fatalf("replay: %v", err)
			}
			second := k.letters(t, 2)[1]
			got, before := headers(second), headers(first)
			if got["dlq.id"] != before["dlq.id"] || got["dlq.first-failed-at"] != before["dlq.first-failed-at"] {
				t.Errorf("it is another letter: %v, %v", before, got)
			}
			if got["dlq.class"] != c.class || got["__dlq.errors.delivery.count"] != c.attempts || !slices.Equal(second.Value, first.Value) {
				t.Errorf("letter %v", got)
			}
			if told := headers(failed.Letter); told["__dlq.errors.delivery.count"] != c.attempts || told["dlq.id"] != got["dlq.id"] {
				t.Errorf("the error has the letter %v", told)
			}
		})
	}
}

func TestAReplayDuringAnOutageChangesNothing(t *testing.T) {
	k := newKafka(t, 1)
	var away atomic.Bool
	s := &seen{}
	r := run(t, k, consumer(s, func(context.Context, []runner.Record[string]) error {
		if away.Load() {
			return errAway
		}
		return nil
	}))
	k.write(t, 0, "a", "poison")
	letter := k.letters(t, 1)[0]
	letter.Value = []byte("fine")
	away.Store(true)
	if err := r.Replay(t.Context(), letter); !errors.Is(err, errAway) {
		t.Errorf("replay: %v", err)
	}
	if got := len(k.read(t, dlq)); got != 1 {
		t.Errorf("%d letters", got)
	}
	away.Store(false)
	if err := r.Replay(t.Context(), letter); err != nil || !s.has("fine") {
		t.Errorf("replay: %v, %q", err, s.all())
	}
}

func TestALetterOfNobodyHereIsNotReplayed(t *testing.T) {
	k := newKafka(t, 1)
	r := run(t, k, consumer(&seen{}, nil))
	k.write(t, 0, "a", "poison")
	letter := k.letters(t, 1)[0]
	for i, h := range letter.Headers {
		if h.Key == runner.HeaderGroup {
			letter.Headers[i].Value = []byte("foreign")
		}
	}
	if err := r.Replay(t.Context(), letter); !errors.Is(err, runner.ErrElsewhere) || r.Replays("foreign", in, 0) || !r.Replays("g", in, 0) {
		t.Errorf("replay: %v", err)
	}
	if err := r.Replay(t.Context(), &kgo.Record{}); err == nil || errors.Is(err, runner.ErrElsewhere) {
		t.Errorf("replay of no letter: %v", err)
	}
}

func TestAConsumerOfNullsIsGivenThem(t *testing.T) {
	k := newKafka(t, 1)
	s := &seen{}
	c := consumer(s, nil)
	c.Nulls = true
	c.Decode = func(b []byte) (string, error) { return fmt.Sprint(b == nil), nil }
	run(t, k, c)
	k.write(t, 0, "a", "null")
	k.write(t, 0, "a", "v")
	until(t, "both came", func() bool { return slices.Equal(s.all(), []string{"true", "false"}) })
	if got := len(k.read(t, dlq)); got != 0 {
		t.Errorf("%d letters", got)
	}
}

// An idle member is given a letter at once, and what it produces is one transaction.
func TestATransactionalReplayIsATransaction(t *testing.T) { replayedInATransaction(t, newKafka(t, 1)) }

func replayedInATransaction(t *testing.T, k *kafka) {
	var mended atomic.Bool
	c := copier(nil)
	accept := c.Handle
	c.Handle = func(ctx context.Context, batch []runner.Record[string]) ([]*kgo.Record, error) {
		for _, rec := range batch {
			if string(rec.Key) == "p" && !mended.Load() {
				return nil, runner.Permanent(errors.New("not yet"))
			}
		}
		return accept(ctx, batch)
	}
	r := run(t, k, c)
	k.write(t, 0, "a", "a0")
	k.write(t, 0, "p", "p0")
	until(t, "the offset is committed", func() bool { return k.committed("g", 0) == 2 })
	letter := k.letters(t, 1)[0]

	var failed *runner.Failed
	if err := r.Replay(t.Context(), letter); !errors.As(err, &failed) {
		t.Fatalf("replay: %v", err)
	}
	if got := headers(failed.Letter); got["dlq.id"] != headers(letter)["dlq.id"] || got["__dlq.errors.delivery.count"] != "2" {
		t.Errorf("the letter is now %v", got)
	}
	mended.Store(true)
	for err := error(errors.New("first")); err != nil; { // a rebalance may come in between
		if err = r.Replay(t.Context(), letter); errors.As(err, &failed) {
			t.Fatal(err)
		}
	}
	if !k.holds(t, out, "a0", "p0") || k.committed("g", 0) != 2 {
		t.Errorf("out holds %q, committed %d", values(k.read(t, out)), k.committed("g", 0))
	}
	k.write(t, 0, "a", "a1")
	until(t, "it goes on", func() bool { return k.committed("g", 0) == 3 })
	if !k.holds(t, out, "a0", "p0", "a1") {
		t.Errorf("out holds %q", values(k.read(t, out)))
	}
}

func TestAReplayBetweenRecordsSkipsNone(t *testing.T) {
	k := newKafka(t, 1)
	r := run(t, k, copier(nil))
	k.write(t, 0, "p", "poison")
	letter := k.letters(t, 1)[0]
	letter.Value = []byte("again")
	want := numbers("v", 200)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for _, v := range want {
			if err := k.ProduceSync(t.Context(), &kgo.Record{Topic: in, Key: []byte("a"), Value: []byte(v)}).FirstErr(); err != nil {
				t.Error(err)
			}
		}
	}()
	replayed := 0
	for range 20 {
		if r.Replay(t.Context(), letter) == nil {
			replayed++
			want = append(want, "again")
		}
	}
	<-written
	until(t, "all is committed", func() bool { return k.committed("g", 0) == 201 })
	if replayed == 0 || !k.holds(t, out, want...) {
		t.Errorf("replayed %d times, out holds %d records, want %d", replayed, len(k.read(t, out)), len(want))
	}
}

func TestOnlyThePartitionsOwnerReplaysATransactionalLetter(t *testing.T) {
	k := newKafka(t, 2)
	first := run(t, k, copier(nil))
	second := run(t, k, copier(nil))
	until(t, "two members share the group", func() bool { return k.members("g") == 2 })
	k.write(t, 0, "p", "poison")
	k.write(t, 1, "p", "poison")
	until(t, "the offsets are committed", func() bool { return k.committed("g", 0) == 1 && k.committed("g", 1) == 1 })
	for _, letter := range k.letters(t, 2) {
		letter.Value = []byte("fine")
		partition := headers(letter)["__dlq.errors.partition"]
		owners := 0
		for _, r := range []*running{first, second} {
			switch err := r.Replay(t.Context(), letter); {
			case err == nil:
				owners++
			case !errors.Is(err, runner.ErrElsewhere):
				t.Errorf("partition %s: %v", partition, err)
			}
		}
		if owners != 1 {
			t.Errorf("partition %s was replayed by %d members", partition, owners)
		}
	}
	if !k.holds(t, out, "fine", "fine") {
		t.Errorf("out holds %q", values(k.read(t, out)))
	}
}

// A member whose session ended without its knowing replays something, is held up, and wakes after the new owner published
// something newer: the one way in which a replay could publish the older cart last.
func TestAReplayOfAMemberThatLostItsPartitionPublishesNothing(t *testing.T) {
	k := newKafka(t, 1)
	entered, release := make(chan struct{}, 10), make(chan struct{})
	old := copier(nil)
	copying := old.Handle
	old.Handle = func(ctx context.Context, batch []runner.Record[string]) ([]*kgo.Record, error) {
		if batch[0].Value == "old" {
			entered <- struct{}{}
			<-release
		}
		return copying(ctx, batch)
	}
	cfg := runner.Config{Kafka: []kgo.Opt{kgo.SeedBrokers(k.brokers...), kgo.SessionTimeout(k.session)}}
	r := runWith(t, cfg, old)
	k.write(t, 0, "a", "poison")
	letter := k.letters(t, 1)[0]
	until(t, "the offset is committed", func() bool { return k.committed("g", 0) == 1 })
	letter.Value = []byte("old")
	replayed := make(chan error, 1)
	go func() { replayed <- r.Replay(context.Background(), letter) }()
	<-entered
	zombie := k.GroupInfo("g").Members[0].MemberID
	k.ControlKey(kmsg.Heartbeat.Int16(), func(r kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		beat := r.(*kmsg.HeartbeatRequest)
		return beat.ResponseKind(), nil, beat.MemberID == zombie // it hears that all is well, and the group hears nothing
	})
	run(t, k, copier(nil))
	k.write(t, 0, "a", "new")
	until(t, "the new owner published", func() bool { return k.holds(t, out, "new") })
	close(release)
	if err := <-replayed; err == nil {
		t.Error("the replay says that it is done")
	}
	if got := values(k.read(t, out)); !slices.Equal(got, []string{"new"}) {
		t.Errorf("out holds %q", got)
	}
}
