package runner

import (
	"bytes"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func sized(n, bytesEach int) []*kgo.Record {
	out := make([]*kgo.Record, n)
	for i := range out {
		out[i] = &kgo.Record{Offset: int64(i), Value: bytes.Repeat([]byte{'x'}, bytesEach), Timestamp: time.UnixMilli(int64(i))}
	}
	return out
}

func TestQueue(t *testing.T) {
	t.Parallel()
	for claim, c := range map[string]struct {
		push    []*kgo.Record
		batches []int
	}{
		"a batch is what waits, up to its bound": {sized(25, 1), []int{10, 10, 5}},
		"a batch ends before 4 MiB":              {sized(5, 1<<20+1), []int{3, 2}},
		"a record of any size is a batch":        {sized(2, 5<<20), []int{1, 1}},
		"nothing waits":                          {nil, nil},
	} {
		t.Run(claim, func(t *testing.T) {
			q := newQueue(10, func(bool) {})
			q.push(c.push)
			var next int64
			for _, want := range c.batches {
				got := q.take()
				if len(got) != want {
					t.Fatalf("a batch of %d, want %d", len(got), want)
				}
				for _, r := range got {
					if r.Offset != next {
						t.Fatalf("offset %d, want %d", r.Offset, next)
					}
					next++
				}
			}
			if more := q.take(); more != nil {
				t.Errorf("%d more", len(more))
			}
		})
	}
}

func TestFetchingStopsAtTwoBatchesAndGoesOnAtOne(t *testing.T) {
	t.Parallel()
	for unit, batch := range map[string][]*kgo.Record{"records": sized(10, 1), "bytes": sized(1, 4<<20)} {
		t.Run(unit, func(t *testing.T) {
			var flow []bool
			q := newQueue(10, func(stop bool) { flow = append(flow, stop) })
			expect := func(what string, want int) {
				t.Helper()
				if len(flow) != want {
					t.Fatalf("%s: told %v", what, flow)
				}
			}
			q.push(batch)
			expect("one batch waits", 0)
			q.push(batch)
			expect("two batches wait", 1)
			q.push(batch)
			expect("a third came, as a poll was under way", 1)
			q.take()
			expect("two are left", 1)
			q.take()
			expect("one is left", 2)
			q.push(batch)
			expect("two again", 3)
			q.close()
			expect("the partition is given up", 4)
			if !flow[0] || flow[1] || !flow[2] || flow[3] {
				t.Errorf("told %v", flow)
			}
		})
	}
}

func TestTheOldestRecordIsTheFirstThatIsNotDone(t *testing.T) {
	t.Parallel()
	q := newQueue(2, func(bool) {})
	at := func(want int64) {
		t.Helper()
		got := q.oldest()
		if want < 0 && !got.IsZero() || want >= 0 && got.UnixMilli() != want {
			t.Errorf("oldest %v, want %d", got, want)
		}
	}
	at(-1)
	q.push(sized(3, 1))
	at(0)
	q.take()
	at(0)
	q.settle()
	at(2)
	q.take()
	q.settle()
	at(-1)
}
