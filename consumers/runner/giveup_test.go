package runner_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/consumers/runner"
)

func TestWhatHandleTookOverIsParkedLikeAnyOther(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 1)
	var mu sync.Mutex
	var took *kgo.Record
	var replayed *runner.Letter
	s := &seen{}
	c := consumer(s, func(ctx context.Context, batch []runner.Record[string]) error {
		mu.Lock()
		defer mu.Unlock()
		took, replayed = batch[0].Record, runner.Replaying(ctx)
		return nil
	})
	r := run(t, k, c)
	k.put(t, &kgo.Record{Topic: in, Key: []byte("a"), Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte("a:1:2")}}})
	until(t, "it is taken over", func() bool { return s.has("v") })
	if replayed != nil {
		t.Errorf("it seems to be a replay of %+v", replayed)
	}
	first := time.UnixMilli(1795341600000)
	given := runner.GivenUp{
		Record: took, ID: runner.LetterID("g", took), Class: runner.ClassExhausted, Err: errors.New("in vain"), Attempts: 7, First: first,
	}
	if err := r.GiveUp(t.Context(), "g", given); err != nil {
		t.Fatal(err)
	}
	letter := k.letters(t, 1)[0]
	l, err := runner.ReadLetter(letter)
	if err != nil {
		t.Fatal(err)
	}
	if l.ID != given.ID || l.Group != "g" || l.Class != runner.ClassExhausted || l.Attempts != 7 || !l.FirstFailed.Equal(first) || l.Message != "in vain" {
		t.Errorf("letter %+v", l)
	}
	if o := l.Record; o.Topic != in || o.Partition != 0 || o.Offset != took.Offset || string(o.Key) != "a" || string(o.Value) != "v" || len(o.Headers) != 1 {
		t.Errorf("its record is %+v", o)
	}
	if n := r.metric(t, "cartstream_consumer_parked_total"); n != 1 {
		t.Errorf("%v are counted", n)
	}

	t.Run("a replay of it is told to be one, and its next end is the same letter", func(t *testing.T) {
		if err := r.Replay(t.Context(), letter); err != nil {
			t.Fatal(err)
		}
		if replayed == nil || replayed.ID != given.ID || replayed.Attempts != 7 {
			t.Fatalf("it is told %+v", replayed)
		}
		given.Attempts += replayed.Attempts
		if err := r.GiveUp(t.Context(), "g", given); err != nil {
			t.Fatal(err)
		}
		again, err := runner.ReadLetter(k.letters(t, 2)[1])
		if err != nil || again.ID != given.ID || again.Attempts != 14 || !slices.Equal(again.Record.Value, took.Value) {
			t.Errorf("letter %+v, %v", again, err)
		}
	})
	t.Run("of a group that doesn't run here it isn't", func(t *testing.T) {
		if err := r.GiveUp(t.Context(), "other", given); !errors.Is(err, runner.ErrUnknownConsumer) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("it fails where the letter can't be stored", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.GiveUp(ctx, "g", given); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
