package booksync_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/consumers/runner"
	"cartstream/schemas"
)

func TestEveryShardLearnsTheNewestOfABatch(t *testing.T) {
	b := setup(t, 8)
	b.handle(record("b1", 3), record("b2", 1), record("b1", 5), record("b1", 4))
	if b.knows("b1", 5) != 8 || b.knows("b2", 1) != 8 {
		t.Errorf("%d shards know b1, %d know b2", b.knows("b1", 5), b.knows("b2", 1))
	}
	if _, _, calls := b.seen(); !slices.Equal(calls, []int{2, 2, 2, 2, 2, 2, 2, 2}) {
		t.Errorf("books a call: %v", calls)
	}
}

// Facts that nobody holds are forgotten after an hour, so nothing but the catalogue tells then that an event is outdated.
func TestAnEventThatComesLateIsComparedWithTheCatalogue(t *testing.T) {
	const short, long = 20 * time.Minute, 40 * time.Minute
	ago := func(d time.Duration) schemas.Time { return schemas.At(time.Now().Add(-d)) }
	for claim, c := range map[string]struct {
		written   time.Duration // ago
		occurred  schemas.Time
		catalogue int64 // its version of the book, 0 for none
		away      error
		want      int64 // what the shards learn, 0 for nothing
		asked     int
	}{
		"one that was written long ago":                {long, ago(short), 4, nil, 4, 1},
		"one of a change that was made long ago":       {short, ago(long), 4, nil, 4, 1},
		"one that doesn't say when it was":             {short, schemas.Time{}, 4, nil, 4, 1},
		"one that the catalogue has":                   {long, ago(long), 3, nil, 3, 1},
		"one that is ahead of the catalogue":           {long, ago(long), 2, nil, 3, 1},
		"one of a book that the catalogue never had":   {long, ago(long), 0, nil, 3, 1},
		"a catalogue that is away is waited for":       {long, ago(long), 4, errors.New("no primary"), 0, 1},
		"one that comes soon needs no catalogue":       {short, ago(short), 4, nil, 3, 0},
		"one that comes soon waits for no catalogue":   {short, ago(short), 4, errors.New("no primary"), 3, 0},
		"one by a clock that is ahead needs none, too": {-long, ago(-long), 4, nil, 3, 0},
	} {
		t.Run(claim, func(t *testing.T) {
			b := setup(t, 2)
			if b.catalogue.away = c.away; c.catalogue > 0 {
				b.catalogue.books["b1"] = c.catalogue
			}
			late := record("b1", 3)
			late.Timestamp, late.Value.OccurredAt = late.Timestamp.Add(-c.written), c.occurred
			err := b.consumer.Handle(t.Context(), []runner.Record[schemas.BookChanged]{late})
			if (err == nil) != (c.want > 0) || runner.IsPermanent(err) || runner.IsRefused(err) {
				t.Errorf("got %v", err)
			}
			if n := b.knows("b1", c.want); n != 2 {
				t.Errorf("%d shards know version %d", n, c.want)
			}
			if n, _ := b.asked(); n != c.asked {
				t.Errorf("the catalogue was asked %d times", n)
			}
		})
	}
}

func TestLateEventsOfABatchAreLookedUpTogether(t *testing.T) {
	b := setup(t, 1)
	var batch []runner.Record[schemas.BookChanged]
	for i := range 250 {
		book := fmt.Sprintf("b%03d", i)
		late := record(book, 3)
		late.Timestamp = late.Timestamp.Add(-time.Hour)
		b.catalogue.books[book] = 4
		batch = append(batch, late)
	}
	batch = append(batch, record("b000", 5)) // nothing that is late counts of this book
	b.handle(batch...)
	if asked, longest := b.asked(); asked != 1 || longest != 249 {
		t.Errorf("%d calls for up to %d books", asked, longest)
	}
	if b.knows("b000", 5) != 1 || b.knows("b001", 4) != 1 || b.knows("b249", 4) != 1 {
		t.Error("not all are known in their newest version")
	}
}

func TestAHundredBooksAreTheMostOfACall(t *testing.T) {
	b := setup(t, 1)
	var batch []runner.Record[schemas.BookChanged]
	for i := range 250 {
		batch = append(batch, record(fmt.Sprintf("b%03d", i), 1))
	}
	b.handle(batch...)
	if _, _, calls := b.seen(); !slices.Equal(calls, []int{100, 100, 50}) {
		t.Errorf("books a call: %v", calls)
	}
}

func TestAShardThatDoesNotAnswerHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 4)
		b.hold("b1", 10)
		b.run()
		after(5 * time.Second) // what it owed at its start is settled
		b.set(2, func(s *shard) { s.fault = errAway })

		began := time.Now()
		b.handle(b.change("b1"))
		if took := time.Since(began); took > time.Second {
			t.Errorf("the others' books waited for %v", took)
		}
		_, _, before := b.seen()
		began = time.Now()
		b.handle(b.change("b1"))
		took := time.Since(began)
		if _, _, now := b.seen(); took > 10*time.Millisecond || len(now) != len(before)+3 {
			t.Errorf("a shard known to be silent was waited for: %v, %d calls", took, len(now)-len(before))
		}
		after(5 * time.Second)
		if n := b.behind("b1", 3, 0, 1, 3); n > 0 {
			t.Errorf("%d carts of the other shards are behind", n)
		}
		if n := b.metric("cartstream_booksync_refreshes_due"); n != 1 {
			t.Errorf("%v shards are owed a comparison", n)
		}

		b.set(2, func(s *shard) { s.fault = nil })
		after(5 * time.Second)
		if n := b.behind("b1", 3); n > 0 {
			t.Errorf("%d carts are behind although the shard is back", n)
		}
		b.handle(b.change("b1"))
		if n := b.knows("b1", 4); n != 4 {
			t.Errorf("%d shards were told the next version", n)
		}
	})
}

// A book that changes while the comparison is under way must not be lost between the two.
func TestWhatAShardMissesDuringItsComparisonIsStillOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 2)
		b.hold("b1", 1)
		b.set(1, func(s *shard) { s.fault = errAway })
		b.run()
		for range 20 {
			b.handle(b.change("b1"))
			after(700 * time.Millisecond)
			b.set(1, func(s *shard) { s.fault = nil })
			b.handle(b.change("b1"))
			after(400 * time.Millisecond)
			b.set(1, func(s *shard) { s.fault = errAway })
		}
		b.handle(b.change("b1"))
		b.set(1, func(s *shard) { s.fault = nil })
		after(5 * time.Second)
		if n := b.behind("b1", 42); n > 0 {
			t.Errorf("%d carts are behind", n)
		}
	})
}

func TestARecoveringShardIsLeftToItsRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 3)
		b.hold("b1", 10)
		b.run()
		after(5 * time.Second)
		b.set(1, func(s *shard) { s.fault = errRecovering })
		began := time.Now()
		b.handle(b.change("b1"))
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("it was waited for: %v", took)
		}
		if n := b.metric("cartstream_booksync_refreshes_due"); n != 0 {
			t.Errorf("%v shards are owed what recovery asks for anyway", n)
		}
		b.set(1, func(s *shard) { s.fault, s.refresh = nil, "7" })
		after(5 * time.Second)
		if n := b.behind("b1", 2); n > 0 || b.refresh(1) != "" {
			t.Errorf("%d carts are behind, refresh %q", n, b.refresh(1))
		}
	})
}

func TestWhereNoShardAnswersTheBatchComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 3)
		for i := range 3 {
			b.set(i, func(s *shard) { s.fault = errAway })
		}
		for range 2 {
			err := b.consumer.Handle(t.Context(), []runner.Record[schemas.BookChanged]{record("b1", 1)})
			if err == nil || runner.IsPermanent(err) || runner.IsRefused(err) {
				t.Fatalf("got %v", err)
			}
		}
		for i := range 3 {
			b.set(i, func(s *shard) { s.fault = nil })
		}
		b.run()
		b.handle(record("b1", 1))
		if n := b.knows("b1", 1); n != 3 {
			t.Errorf("%d shards know", n)
		}
	})
}

func TestABatchThatIsGivenUpOwesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 3)
		b.run()
		after(5 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.consumer.Handle(ctx, []runner.Record[schemas.BookChanged]{record("b1", 1)}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if n := b.metric("cartstream_booksync_refreshes_due"); n != 0 {
			t.Errorf("%v shards are owed a comparison", n)
		}
	})
}

func TestAParkedRecordHasItsBookLookedUp(t *testing.T) {
	for claim, c := range map[string]struct {
		key  string
		away error
		want int // shards that know version 4 of b1
		ok   bool
	}{
		"the book is told as the catalogue has it": {"b1", nil, 2, true},
		"a book that never was needs nothing":      {"b9", nil, 0, true},
		"a key that names no book needs nothing":   {"no book", nil, 0, true},
		"a catalogue that is away is waited for":   {"b1", errors.New("no primary"), 0, false},
	} {
		t.Run(claim, func(t *testing.T) {
			b := setup(t, 2)
			b.catalogue.books["b1"], b.catalogue.away = 4, c.away
			err := b.consumer.Heal(t.Context(), &kgo.Record{Key: []byte(c.key)})
			if (err == nil) != c.ok || runner.IsPermanent(err) || runner.IsRefused(err) {
				t.Errorf("got %v", err)
			}
			if n := b.knows("b1", 4); n != c.want {
				t.Errorf("%d shards know", n)
			}
		})
	}
}

func TestWhatNobodyCanReadIsRefused(t *testing.T) {
	b := setup(t, 1)
	for claim, c := range map[string]struct {
		value string
		ok    bool
	}{
		"an event":                {`{"bookId":"b1","version":1,"type":"updated","status":"available","unitPrice":1,"later":2}`, true},
		"no JSON":                 {`{`, false},
		"no version":              {`{"bookId":"b1","type":"updated","status":"available"}`, false},
		"a status nobody knows":   {`{"bookId":"b1","version":1,"type":"updated","status":"rented"}`, false},
		"a book without its id":   {`{"version":1,"type":"updated","status":"available"}`, false},
		"an event with no status": {`{"bookId":"b1","version":1,"type":"updated"}`, false},
	} {
		t.Run(claim, func(t *testing.T) {
			if _, err := b.consumer.Decode([]byte(c.value)); (err == nil) != c.ok || err != nil && !errors.Is(err, schemas.ErrMalformed) {
				t.Errorf("got %v", err)
			}
		})
	}
}
