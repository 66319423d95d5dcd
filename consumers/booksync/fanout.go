package booksync

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"cartstream/schemas"
)

// Carts are the carts, shard by shard. A cart.Store is one.
type Carts interface {
	Facts
	Walks
	Comparisons
}

// Fanout learns of books and brings the carts that hold them up to what was learned.
type Fanout struct {
	carts    Carts
	books    Catalogue
	instance string
	log      *slog.Logger
	meter    *meter
	debts    *debts
	unknown  *unknown
	versions *versions

	mu         sync.Mutex
	lanes      map[string]*lane // by server
	comparing  chan struct{}    // something is to be compared or looked up
	paused     atomic.Bool
	complaints rate.Sometimes
}

// New waits for no engine.
func New(carts Carts, books Catalogue, reg prometheus.Registerer, log *slog.Logger) *Fanout {
	f := &Fanout{
		carts: carts, books: books, instance: rand.Text(), log: log,
		debts: newDebts(carts.Shards()), unknown: newUnknown(), versions: newVersions(),
		lanes: map[string]*lane{}, comparing: make(chan struct{}, 1), complaints: rate.Sometimes{Interval: 10 * time.Second},
	}
	f.meter = newMeter(reg, f.waiting, func() float64 { return float64(f.debts.owing()) })
	return f
}

// Run walks, and compares what shards know with the catalogue where that is due, until ctx ends; then it ends the steps
// in hand and returns nil. Any number of processes may do so at once: a shard's walks go on in one of them, and in
// another one some seconds after that one died.
func (f *Fanout) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { f.compare(ctx) })
	for {
		f.assign(ctx, &parts)
		if sleep(ctx, lookEvery) != nil {
			return nil //nolint:nilerr // that is how it ends
		}
	}
}

// assign gives each Redis server a lane of its own, with the shards that it holds now.
func (f *Fanout) assign(ctx context.Context, parts *sync.WaitGroup) {
	asking, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	servers := f.carts.Servers(asking)
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, l := range f.lanes {
		if len(servers[name]) == 0 {
			l.stop()
			delete(f.lanes, name)
		}
	}
	for name, shards := range servers {
		l := f.lanes[name]
		if l == nil {
			l = newLane(f, name)
			f.lanes[name] = l
			l.shards.Store(&shards)
			parts.Go(func() { l.run(ctx) })
		}
		l.shards.Store(&shards)
	}
}

// Pause keeps the walks and the comparisons from going on, in this process, until Resume. Steps in hand end. The runner's
// Pause of the consumer keeps facts from being told; this goes with it.
func (f *Fanout) Pause() { f.paused.Store(true) }

// Resume ends a Pause.
func (f *Fanout) Resume() {
	f.paused.Store(false)
	f.hurry()
	f.compareSoon()
}

// hurry has every shard looked at soon.
func (f *Fanout) hurry() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.lanes {
		signal(l.hurry)
	}
}

func (f *Fanout) compareSoon() { signal(f.comparing) }

func (f *Fanout) waiting() float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	var n int64
	for _, l := range f.lanes {
		n += l.waiting.Load()
	}
	return float64(n)
}

// complain logs what goes wrong again and again once in a while.
func (f *Fanout) complain(what string, err error) {
	f.complaints.Do(func() { f.log.Warn(what, "error", err) }) //nolint:sloglint // the callers' messages are fixed
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// await returns after d, or once c is signalled or ctx ends.
func await(ctx context.Context, c <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c:
	case <-ctx.Done():
	}
}

// versions are those of the books that walks go on for, as far as this process told them to a shard: for the log.
type versions struct {
	mu sync.Mutex
	of map[string]int64
}

const mostVersions = 10_000

func newVersions() *versions { return &versions{of: map[string]int64{}} }

func (v *versions) note(books []schemas.Book) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.of) > mostVersions {
		clear(v.of) // walks that another process ended are never reported here
	}
	for _, b := range books {
		v.of[b.BookID] = max(v.of[b.BookID], b.Version)
	}
}

// get returns 0 where the version isn't known.
func (v *versions) get(book string) int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.of[book]
}
