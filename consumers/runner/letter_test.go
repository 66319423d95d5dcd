package runner

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestALetterIsTheOriginalAndSaysWhatHappened(t *testing.T) {
	t.Parallel()
	original := []kgo.RecordHeader{
		{Key: "ce_id", Value: []byte("u1:1:7")}, {Key: "raw", Value: []byte{0xff, 0}}, {Key: "empty"},
	}
	rec := &kgo.Record{
		Topic: "cart.events.v1", Partition: 3, Offset: 42, Key: []byte("u1"), Value: []byte{0xfe, 0, '{'},
		Headers: slices.Clone(original), Timestamp: time.UnixMilli(1_790_000_000_000),
	}
	first := time.Date(2026, 11, 22, 11, 0, 0, 7_000_000, time.FixedZone("CET", 3600))
	l := failure{record: rec, class: ClassRejected, err: errors.New("no such cart"), attempts: 4, first: first}.letter("persist", "cart.dlq.v1")

	if l.Topic != "cart.dlq.v1" || string(l.Key) != "u1" || !slices.Equal(l.Value, rec.Value) {
		t.Errorf("letter %+v", l)
	}
	want := append(original,
		header("__dlq.errors.topic", "cart.events.v1"), header("__dlq.errors.partition", "3"),
		header("__dlq.errors.offset", "42"), header("__dlq.errors.group", "persist"),
		header("__dlq.errors.delivery.count", "4"), header("__dlq.errors.message", "no such cart"),
		header("dlq.id", LetterID("persist", rec)), header("dlq.class", "rejected"),
		header("dlq.first-failed-at", "2026-11-22T10:00:00.007Z"))
	if !slices.EqualFunc(l.Headers, want, func(a, b kgo.RecordHeader) bool {
		return a.Key == b.Key && slices.Equal(a.Value, b.Value)
	}) {
		t.Errorf("headers\n%q, want\n%q", l.Headers, want)
	}
	if !slices.EqualFunc(rec.Headers, original, func(a, b kgo.RecordHeader) bool { return a.Key == b.Key }) {
		t.Errorf("the original's headers became %q", rec.Headers)
	}
}

func TestANullStaysNullInALetter(t *testing.T) {
	t.Parallel()
	l := failure{record: &kgo.Record{}, class: ClassUndecodable, err: errNull, attempts: 1, first: time.Now()}.letter("g", "dlq")
	if l.Key != nil || l.Value != nil {
		t.Errorf("key %v, value %v", l.Key, l.Value)
	}
}

func TestAMessageIsUTF8AndBounded(t *testing.T) {
	t.Parallel()
	for claim, text := range map[string]string{
		"not UTF-8":             "bad \xff\xfe bytes",
		"long":                  strings.Repeat("x", 5000),
		"cut within a rune":     strings.Repeat("x", maxMessage-1) + "€€",
		"long and not UTF-8":    strings.Repeat("\xff", 5000),
		"shorter than any rune": "",
	} {
		t.Run(claim, func(t *testing.T) {
			m := message(errors.New(text))
			if !utf8.ValidString(m) || len(m) > maxMessage {
				t.Errorf("%d bytes, valid %v", len(m), utf8.ValidString(m))
			}
			if text != "" && m == "" {
				t.Error("nothing is left of it")
			}
		})
	}
}

func TestALetterIDNamesOneRecordForOneGroup(t *testing.T) {
	t.Parallel()
	base := kgo.Record{Topic: "t", Partition: 1, Offset: 2, Timestamp: time.UnixMilli(3)}
	change := func(f func(*kgo.Record)) *kgo.Record { r := base; f(&r); return &r }
	seen := map[string]string{}
	for what, id := range map[string]string{
		"itself":            LetterID("g", &base),
		"another group":     LetterID("h", &base),
		"another topic":     LetterID("g", change(func(r *kgo.Record) { r.Topic = "u" })),
		"another partition": LetterID("g", change(func(r *kgo.Record) { r.Partition = 12 })),
		"another offset":    LetterID("g", change(func(r *kgo.Record) { r.Offset = 12 })),
		"a topic made anew": LetterID("g", change(func(r *kgo.Record) { r.Timestamp = time.UnixMilli(4) })),
	} {
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s are both %s", what, other, id)
		}
		seen[id] = what
	}
	if LetterID("g", &base) != LetterID("g", change(func(r *kgo.Record) { r.Value = []byte("x") })) {
		t.Error("the same record has two ids")
	}
}
