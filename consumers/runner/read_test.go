package runner

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestALetterReadBackIsWhatTheGroupWasGiven(t *testing.T) {
	t.Parallel()
	rec := &kgo.Record{
		Topic: "cart.events.v1", Partition: 3, Offset: 42, Key: []byte("u1"), Value: []byte{0xfe, 0, '{'},
		Headers: []kgo.RecordHeader{header("ce_id", "u1:1:7"), {Key: "empty"}}, Timestamp: time.UnixMilli(1_790_000_000_000),
	}
	first := time.UnixMilli(1_790_000_000_123).UTC()
	written := failure{record: rec, class: ClassRejected, err: errors.New("no such cart"), attempts: 4, first: first}
	l, err := ReadLetter(written.letter("persist", "cart.dlq.v1"))
	if err != nil {
		t.Fatal(err)
	}
	if l.ID != LetterID("persist", rec) || l.Group != "persist" || l.Class != ClassRejected || l.Message != "no such cart" ||
		l.Attempts != 4 || !l.FirstFailed.Equal(first) {
		t.Errorf("letter %+v", l)
	}
	got := l.Record
	if got.Topic != rec.Topic || got.Partition != 3 || got.Offset != 42 || string(got.Key) != "u1" || !slices.Equal(got.Value, rec.Value) ||
		!sameHeaders(got.Headers, rec.Headers) {
		t.Errorf("record %+v", got)
	}

	again := failure{record: got, class: ClassExhausted, err: errors.New("still not"), attempts: 10, first: time.Now(), past: &l}
	second, err := ReadLetter(again.letter("persist", "cart.dlq.v1"))
	if err != nil {
		t.Fatal(err)
	}
	if second.ID != l.ID || second.Attempts != 14 || !second.FirstFailed.Equal(first) || second.Class != ClassExhausted ||
		second.Message != "still not" || !sameHeaders(second.Record.Headers, rec.Headers) {
		t.Errorf("the letter of a replay is %+v", second)
	}
}

func TestALetterOfALetterIsReadAsTheLaterOne(t *testing.T) {
	t.Parallel()
	inner := failure{record: &kgo.Record{Topic: "in", Key: []byte("k")}, class: ClassRejected, err: errors.New("inner"), attempts: 1, first: time.Now()}.letter("a", "dlq")
	outer := failure{record: inner, class: ClassExhausted, err: errors.New("outer"), attempts: 10, first: time.Now()}.letter("b", "dlq")
	l, err := ReadLetter(outer)
	if err != nil {
		t.Fatal(err)
	}
	if l.Group != "b" || l.Message != "outer" || l.Record.Topic != "dlq" || !sameHeaders(l.Record.Headers, inner.Headers) {
		t.Errorf("letter %+v", l)
	}
}

func TestALettersFaultsAreAllTold(t *testing.T) {
	t.Parallel()
	l, err := ReadLetter(&kgo.Record{Key: []byte("k"), Headers: []kgo.RecordHeader{
		header(HeaderTopic, "in"), header(HeaderPartition, "-1"), header(HeaderOffset, "many"), header(HeaderGroup, ""),
		header(HeaderMessage, "why"), header("ce_id", "u1:1:7"),
	}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{HeaderPartition, HeaderOffset, HeaderGroup, HeaderAttempts, HeaderID, HeaderClass, HeaderFirstFailed} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("nothing about %s in %v", name, err)
		}
	}
	if got := fmt.Sprintf("%s/%d@%d %s %d", l.Record.Topic, l.Record.Partition, l.Record.Offset, l.Message, len(l.Record.Headers)); got != "in/-1@-1 why 1" {
		t.Errorf("what is known is %s", got)
	}
}

func sameHeaders(a, b []kgo.RecordHeader) bool {
	return slices.EqualFunc(a, b, func(a, b kgo.RecordHeader) bool { return a.Key == b.Key && slices.Equal(a.Value, b.Value) })
}
