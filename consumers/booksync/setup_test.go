package booksync_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/consumers/booksync"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// bundle is a Fanout on shards of its own, each on the same server, within a bubble of time.
type bundle struct {
	t         *testing.T
	shards    *shards
	catalogue *catalogue
	fanout    *booksync.Fanout
	consumer  runner.Consumer[schemas.BookChanged]
	metrics   *prometheus.Registry
	log       *strings.Builder
}

func setup(t *testing.T, n int) *bundle {
	t.Helper()
	b := &bundle{
		t: t, shards: &shards{inFight: map[string]int{}}, catalogue: &catalogue{books: map[string]int64{}},
		metrics: prometheus.NewRegistry(), log: &strings.Builder{},
	}
	for range n {
		b.shards.all = append(b.shards.all, &shard{facts: map[string]int64{}, holders: map[string][]int64{}, walks: map[string]int{}})
	}
	b.fanout = booksync.New(b.shards, b.catalogue, b.metrics, slog.New(slog.NewTextHandler(b.log, nil)))
	b.consumer = booksync.Consumer(b.fanout)
	return b
}

// run runs the walker until the test ends, and waits until it has nothing more to do at once.
func (b *bundle) run() {
	b.t.Helper()
	ctx, stop := context.WithCancel(b.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.fanout.Run(ctx) }()
	b.t.Cleanup(func() {
		stop()
		must(b.t, <-ended)
	})
	synctest.Wait()
}

// hold puts the book, as it was in version 1, into n carts of each shard that has none yet, and into the catalogue.
func (b *bundle) hold(book string, n int, of ...int) {
	b.shards.mu.Lock()
	defer b.shards.mu.Unlock()
	if len(of) == 0 {
		for i := range b.shards.all {
			of = append(of, i)
		}
	}
	b.catalogue.books[book] = 1
	for _, i := range of {
		one := b.shards.all[i]
		one.facts[book] = 1
		for range n {
			one.holders[book] = append(one.holders[book], 1)
		}
	}
}

// change is the book's next version in the catalogue and the record that says so.
func (b *bundle) change(book string) runner.Record[schemas.BookChanged] {
	b.catalogue.mu.Lock()
	defer b.catalogue.mu.Unlock()
	b.catalogue.books[book]++
	return record(book, b.catalogue.books[book])
}

func record(book string, version int64) runner.Record[schemas.BookChanged] {
	now := time.Now()
	return runner.Record[schemas.BookChanged]{
		Record: &kgo.Record{Topic: schemas.BookEvents, Key: []byte(book), Timestamp: now},
		Value: schemas.BookChanged{BookID: book, Version: version, Type: schemas.BookUpdated, Status: schemas.Available,
			OccurredAt: schemas.At(now)},
	}
}

func (b *bundle) handle(batch ...runner.Record[schemas.BookChanged]) {
	b.t.Helper()
	must(b.t, b.consumer.Handle(b.t.Context(), batch))
}

// set changes a shard while nobody else looks.
func (b *bundle) set(i int, change func(*shard)) {
	b.shards.mu.Lock()
	defer b.shards.mu.Unlock()
	change(b.shards.all[i])
}

// seen is what the shards were asked so far: looks, steps, and the books of each Learn.
func (b *bundle) seen() (looks int, steps []string, calls []int) {
	b.shards.mu.Lock()
	defer b.shards.mu.Unlock()
	return b.shards.looks, slices.Clone(b.shards.steps), slices.Clone(b.shards.calls)
}

// refresh is what the shard still asks for.
func (b *bundle) refresh(i int) (asked string) {
	b.set(i, func(s *shard) { asked = s.refresh })
	return asked
}

// asked is how often the catalogue was, and the most books of a call.
func (b *bundle) asked() (times, longest int) {
	b.catalogue.mu.Lock()
	defer b.catalogue.mu.Unlock()
	return b.catalogue.asked, b.catalogue.longest
}

// mostSteps is how many steps ever held one server at once.
func (b *bundle) mostSteps() int {
	b.shards.mu.Lock()
	defer b.shards.mu.Unlock()
	return b.shards.most
}

// behind is how many carts of those shards, of all without any, show less than that version of the book.
func (b *bundle) behind(book string, version int64, of ...int) (n int) {
	b.shards.mu.Lock()
	defer b.shards.mu.Unlock()
	for i, one := range b.shards.all {
		if len(of) > 0 && !slices.Contains(of, i) {
			continue
		}
		for _, v := range one.holders[book] {
			if v < version {
				n++
			}
		}
	}
	return n
}

// knows is how many shards know that version of the book.
func (b *bundle) knows(book string, version int64) (n int) {
	b.shards.mu.Lock()
	defer b.shards.mu.Unlock()
	for _, one := range b.shards.all {
		if one.facts[book] == version {
			n++
		}
	}
	return n
}

// after lets time pass.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// metric is the sum of a metric's values; a histogram counts.
func (b *bundle) metric(name string) (sum float64) {
	b.t.Helper()
	families, err := b.metrics.Gather()
	must(b.t, err)
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
			return sum
		}
	}
	b.t.Fatalf("there is no metric %s", name)
	return 0
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
