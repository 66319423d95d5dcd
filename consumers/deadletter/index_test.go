package deadletter_test

import (
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/consumers/deadletter"
	"cartstream/consumers/runner"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// written is a letter as a runner writes it.
func written(id string, attempts int, at int64) *kgo.Record {
	rec := &kgo.Record{Topic: schemas.CartDLQ, Key: []byte("u1"), Value: []byte{0xff, 0}, Timestamp: time.UnixMilli(at)}
	for _, h := range [][2]string{
		{"raw", "\xff\x00"}, {runner.HeaderTopic, schemas.CartEvents}, {runner.HeaderPartition, "3"}, {runner.HeaderOffset, "42"},
		{runner.HeaderGroup, "persist"}, {runner.HeaderAttempts, strconv.Itoa(attempts)}, {runner.HeaderMessage, "no good"},
		{runner.HeaderID, id}, {runner.HeaderClass, runner.ClassRejected}, {runner.HeaderFirstFailed, "2026-11-22T10:00:00.000Z"},
	} {
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	return rec
}

func TestWhatTheTopicDoesNotTakeIsKeptWholeUntilItDoes(t *testing.T) {
	db := connect(t, enginetest.Mongo(t))
	x := deadletter.NewIndex(db)
	first := written("a1", 1, 1000)
	null := written("b2", 1, 1000)
	null.Value, null.Key = nil, nil
	for range 2 { // a repeat
		must(t, x.Park(t.Context(), []*kgo.Record{first, null}))
	}
	kept, err := x.Unwritten(t.Context(), 0, 10)
	must(t, err)
	if len(kept) != 2 {
		t.Fatalf("%d letters are kept", len(kept))
	}
	for _, rec := range kept {
		want := first
		if rec.Key == nil {
			want = null
		}
		if rec.Topic != schemas.CartDLQ || string(rec.Value) != string(want.Value) || (rec.Value == nil) != (want.Value == nil) || len(rec.Headers) != len(want.Headers) {
			t.Errorf("kept %+v", rec)
		}
		for i, h := range want.Headers {
			if rec.Headers[i].Key != h.Key || string(rec.Headers[i].Value) != string(h.Value) {
				t.Errorf("header %d is %+v", i, rec.Headers[i])
			}
		}
	}
	must(t, x.Park(t.Context(), []*kgo.Record{written("a1", 2, 2000)})) // failed once more
	must(t, x.Written(t.Context(), kept...))
	left, err := x.Unwritten(t.Context(), 0, 10)
	must(t, err)
	if len(left) != 1 || string(left[0].Key) != "u1" {
		t.Fatalf("left are %v", left)
	}
	must(t, x.Written(t.Context(), left...))
	must(t, x.Written(t.Context(), written("gone", 1, 1000)))
	if left, err = x.Unwritten(t.Context(), 0, 10); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestALetterParkedByManyAtOnceIsOne(t *testing.T) {
	db := connect(t, enginetest.Mongo(t))
	x := deadletter.NewIndex(db)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if err := x.Park(t.Context(), []*kgo.Record{written("a1", i+1, int64(1000+i)), written("b"+strconv.Itoa(i), 1, 1000)}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	letters := db.Collection(deadletter.Collection)
	n, err := letters.CountDocuments(t.Context(), bson.D{})
	must(t, err)
	var l struct{ Attempts int }
	must(t, letters.FindOne(t.Context(), bson.D{{Key: "_id", Value: "a1"}}).Decode(&l))
	if n != 9 || l.Attempts != 8 {
		t.Errorf("%d letters, %d attempts", n, l.Attempts)
	}
}

func TestAMongoDBThatIsAwayIsSaidToBe(t *testing.T) {
	x := deadletter.NewIndex(connect(t, "mongodb://127.0.0.1:1/away"))
	if err := x.Park(t.Context(), []*kgo.Record{written("a1", 1, 1000)}); !errors.Is(err, schemas.ErrUnavailable) {
		t.Errorf("park: %v", err)
	}
	if _, err := x.Unwritten(t.Context(), 0, 1); !errors.Is(err, schemas.ErrUnavailable) {
		t.Errorf("unwritten: %v", err)
	}
}
