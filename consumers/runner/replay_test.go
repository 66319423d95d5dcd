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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
