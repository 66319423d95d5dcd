package main

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// load is callers that wait for each answer before they ask again.
type load struct {
	addr        string
	callers     []caller
	connections int
	keyed       bool
	// ask makes one call; an add by one of the callers where it is nil.
	ask func(*client) error
}

// turn is what one turn of a load measured.
type turn struct {
	elapsed   time.Duration
	latencies []time.Duration // of every call that was answered meanwhile, sorted
	cpu       []time.Duration // of each process asked for
}

// warm is how long a load runs before it is measured.
const warm = 500 * time.Millisecond

// phases of a load.
const (
	warming int32 = iota
	measuring
	over
)

// measure runs the load, on connections of its own, and measures it for d. A call that fails ends it.
func (l load) measure(ctx context.Context, d time.Duration, pids ...int) (turn, error) {
	var phase atomic.Int32
	var mu sync.Mutex
	var t turn
	g, ctx := errgroup.WithContext(ctx)
	for range l.connections {
		g.Go(func() error {
			own, err := l.one(ctx, &phase)
			mu.Lock()
			defer mu.Unlock()
			t.latencies = append(t.latencies, own...)
			return err
		})
	}
	g.Go(func() error {
		defer phase.Store(over)
		if err := sleep(ctx, warm); err != nil {
			return err
		}
		before, err := cpus(pids)
		if err != nil {
			return err
		}
		began := time.Now()
		phase.Store(measuring)
		if err := sleep(ctx, d); err != nil {
			return err
		}
		phase.Store(over)
		t.elapsed = time.Since(began)
		after, err := cpus(pids)
		for i := range after {
			t.cpu = append(t.cpu, after[i]-before[i])
		}
		return err
	})
	err := g.Wait()
	slices.Sort(t.latencies)
	return t, err
}

func (l load) one(ctx context.Context, phase *atomic.Int32) ([]time.Duration, error) {
	c, err := dial(ctx, l.addr)
	if err != nil {
		return nil, err
	}
	defer c.conn.Close() //nolint:errcheck // nothing is left to say on it
	ask := l.ask
	if ask == nil {
		ask = l.add
	}
	var latencies []time.Duration
	for phase.Load() != over {
		sent := time.Now()
		if err := ask(c); err != nil {
			return latencies, err
		}
		took := time.Since(sent)
		if phase.Load() == measuring {
			latencies = append(latencies, took)
		}
	}
	return latencies, nil
}

func (l load) add(c *client) error {
	key := ""
	if l.keyed {
		key = newKey()
	}
	user, book := l.callers[rand.IntN(len(l.callers))], bookID(rand.IntN(books)) //nolint:gosec // nothing secret about a load
	_, err := c.add(user, book, key)
	return err
}

// newKey makes an Idempotency-Key as long as the hash that the API keeps an answer under, so that the bare handler can
// use it as it is.
func newKey() string {
	var random [16]byte
	binary.NativeEndian.PutUint64(random[:8], rand.Uint64()) //nolint:gosec // nothing secret about a load
	binary.NativeEndian.PutUint64(random[8:], rand.Uint64()) //nolint:gosec // nothing secret about a load
	return base64.RawURLEncoding.EncodeToString(random[:])
}

func cpus(pids []int) ([]time.Duration, error) {
	all := make([]time.Duration, len(pids))
	for i, pid := range pids {
		var err error
		if all[i], err = cpu(pid); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// sleep returns ctx's error where that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// quantile of sorted durations; 0 of none.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
