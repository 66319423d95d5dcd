package booksync_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/api/cart"
	"cartstream/consumers/booksync"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// shards are the carts as the package sees them, in memory, by the rules of cart.Store. Each step takes stepTime.
type shards struct {
	mu      sync.Mutex
	all     []*shard
	inFight map[string]int // steps, by server
	most    int            // steps of one server at the same time
	looks   int
	steps   []string // "<shard> <book>"
	calls   []int    // books of each Learn
}

const stepTime = time.Millisecond

type shard struct {
	server  string
	fault   error
	facts   map[string]int64
	holders map[string][]int64 // by book: the version that each holder's line shows
	walks   map[string]int
	refresh string
	paused  bool
	leased  string
}

var (
	errAway       = &cart.Unavailable{Err: errors.New("connection refused")}
	errRecovering = &cart.Unavailable{Recovering: true, Err: errors.New("fenced")}
)

func (s *shards) Shards() int { return len(s.all) }

func (s *shards) Servers(context.Context) map[string][]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	servers := map[string][]int{}
	for i, one := range s.all {
		servers[one.server] = append(servers[one.server], i)
	}
	return servers
}

func (s *shards) Learn(ctx context.Context, i int, books []schemas.Book) (queued int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.all[i]
	s.calls = append(s.calls, len(books))
	if err := errors.Join(one.fault, ctx.Err()); err != nil {
		return 0, err
	}
	for _, b := range books {
		if b.Version <= one.facts[b.BookID] {
			continue
		}
		one.facts[b.BookID] = b.Version
		if len(one.holders[b.BookID]) > 0 {
			one.walks[b.BookID] = 0
			queued++
		}
	}
	return queued, nil
}

func (s *shards) Walks(_ context.Context, i, limit int) (cart.Walks, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	one := s.all[i]
	books := slices.Collect(maps.Keys(one.walks))
	return cart.Walks{Books: books[:min(limit, len(books))], Refresh: one.refresh}, one.fault
}

func (s *shards) Step(_ context.Context, i int, book, instance string, limit int) (cart.Step, error) {
	s.mu.Lock()
	one := s.all[i]
	s.inFight[one.server]++
	s.most = max(s.most, s.inFight[one.server])
	s.mu.Unlock()
	time.Sleep(stepTime)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFight[one.server]--
	s.steps = append(s.steps, fmt.Sprint(i, " ", book))
	at, waits := one.walks[book]
	switch {
	case one.fault != nil:
		return cart.Step{}, one.fault
	case one.leased != "" && one.leased != instance:
		return cart.Step{State: cart.WalkBusy}, nil
	case one.paused:
		return cart.Step{State: cart.WalkPaused}, nil
	case !waits:
		return cart.Step{State: cart.WalkDone}, nil
	case one.facts[book] == 0:
		return cart.Step{State: cart.WalkUnknown}, nil
	}
	step := cart.Step{State: cart.WalkOn}
	for ; step.Seen < limit && at < len(one.holders[book]); at++ {
		step.Seen++
		if one.holders[book][at] < one.facts[book] {
			one.holders[book][at] = one.facts[book]
			step.Changed++
		}
	}
	if one.walks[book] = at; at == len(one.holders[book]) {
		delete(one.walks, book)
		step.State = cart.WalkDone
	}
	return step, nil
}

func (s *shards) Known(_ context.Context, i int, after string, limit int) (books []cart.KnownBook, next string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.all[i]
	for _, id := range slices.Sorted(maps.Keys(one.facts)) {
		if id > after && len(books) < limit {
			books = append(books, cart.KnownBook{BookID: id, Version: one.facts[id]})
		}
	}
	if len(books) == limit {
		next = books[limit-1].BookID
	}
	return books, next, one.fault
}

func (s *shards) Refreshed(_ context.Context, i int, refresh string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[i].refresh == refresh {
		s.all[i].refresh = ""
	}
	return s.all[i].fault
}

func (s *shards) DropWalk(_ context.Context, i int, book string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all[i].walks, book)
	return s.all[i].fault
}

// catalogue is MongoDB's books.
type catalogue struct {
	mu      sync.Mutex
	away    error
	asked   int
	longest int
	books   map[string]int64
}

func (c *catalogue) Books(_ context.Context, ids []string) (found []schemas.Book, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	c.longest = max(c.longest, len(ids))
	for _, id := range ids {
		if version, ok := c.books[id]; ok {
			found = append(found, schemas.Book{BookID: id, Version: version, Status: schemas.Available})
		}
	}
	return found, c.away
}

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
	return runner.Record[schemas.BookChanged]{
		Record: &kgo.Record{Topic: schemas.BookEvents, Key: []byte(book)},
		Value:  schemas.BookChanged{BookID: book, Version: version, Type: schemas.BookUpdated, Status: schemas.Available},
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
