package runner_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cartstream/consumers/runner"
)

// An idle member is given a letter at once, and what it produces is one transaction.
func TestATransactionalReplayIsATransaction(t *testing.T) {
	t.Parallel()
	replayedInATransaction(t, newKafka(t, 1))
}

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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
