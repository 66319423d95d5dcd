package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// bestseller is the book that many carts hold, and that nobody adds meanwhile.
const bestseller = "bestseller"

// fanoutWithin bounds one fan-out.
const fanoutWithin = 5 * time.Minute

const fanoutAbout = `
book-fanout: a book's price changes; %d carts hold it. Redis (AOF everysec), Kafka, api with relay, consumer booksync.
  carts/s       from before the PATCH is sent to when booksync's metric says that the last cart is changed, asked seldom until near the end
  held          the longest that one command kept Redis, by Redis's own slow log. Its clock runs on while the kernel gives the core
                to another process, which with all of this on the cores of one machine is most of what it shows
  held alone    the commands of %v and more in one more fan-out while nothing but booksync and Redis runs: what a step takes
  PING          each ms on a connection of its own, from sent to answered: what any other client may have to wait
  add           POST /v1/cart/items by %d other users, of other books, %d a second on %d connections, from sent to answered
  quiet         the same adds without the fan-out, in the same round, once the relay has caught up
  cores         processor time a second of each process; api is the adds and the relay
  us a cart     the fan-out's processor time by the carts that it changed, with what the adds took meanwhile

`

// bookFanout measures how fast a book's new price reaches the carts that hold it, and what other users notice.
func bookFanout(ctx context.Context, b *bench) (err error) {
	s, err := b.start(ctx, "booksync")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	f, err := b.prepareFanout(ctx, s)
	if err != nil {
		return err
	}
	defer f.close()
	fanout, quiet, alone := series{name: "fan-out"}, series{name: "quiet"}, series{name: "held alone"}
	for round := range b.rounds {
		if err := f.caughtUp(ctx); err != nil {
			return err
		}
		if err := f.turn(ctx, &quiet, func(ctx context.Context) (float64, error) { return 0, sleep(ctx, 2*b.each) }); err != nil {
			return err
		}
		price := 1000 + 2*round
		if err := f.turn(ctx, &fanout, func(ctx context.Context) (float64, error) { return f.change(ctx, price) }); err != nil {
			return err
		}
		if b.carts <= mostAlone {
			if err := f.caughtUp(ctx); err != nil {
				return err
			}
			held, err := f.aloneTurn(ctx, price+1)
			if err != nil {
				return err
			}
			alone.add(ms(quantile(held, .5)), ms(quantile(held, .99)), ms(quantile(held, 1)))
		}
		last := func(s series, column int) float64 { return s.cells[column][round] }
		b.say("book-fanout: round %d of %d: %.0f carts/s, held %.1f ms, p99 of adds %.1f/%.1f ms", round+1, b.rounds,
			last(fanout, 0), last(fanout, 1), last(fanout, 5), last(quiet, 5))
	}
	if _, err := fmt.Fprintf(b.out, fanoutAbout, b.carts, logged, addUsers, perSecond, senders); err != nil {
		return err
	}
	t := table{columns: []column{{"carts/s", 0}, {"held ms", 2}, {"PING p99 ms", 2}, {"PING longest ms", 2}, {"add p50 ms", 2}, {"add p99 ms", 2}}}
	cores := table{columns: []column{{"Redis cores", 2}, {"api cores", 2}, {"consumers cores", 2}, {"Kafka cores", 2}}}
	for _, s := range []series{fanout, quiet} {
		cores.rows = append(cores.rows, row{series{s.name, s.cells[len(t.columns):]}, false})
	}
	each := table{columns: []column{{"Redis us", 1}, {"api us", 1}, {"consumers us", 1}, {"Kafka us", 1}}}
	each.rows = append(each.rows, row{series{"us a cart", aCart(fanout.cells, len(t.columns))}, false})
	single := table{columns: []column{{"p50 ms", 2}, {"p99 ms", 2}, {"longest ms", 2}}, rows: []row{{alone, false}}}
	fanout.cells, quiet.cells = fanout.cells[:len(t.columns)], quiet.cells[:len(t.columns)]
	t.compare(fanout, quiet)
	return errors.Join(t.print(b.out), single.print(b.out), cores.print(b.out), each.print(b.out))
}

// aCart is what each process, whose cores stand behind the first columns, takes for each cart: microseconds.
func aCart(fanout []samples, columns int) []samples {
	var out []samples
	for _, cores := range fanout[columns:] {
		var of samples
		for round, rate := range fanout[0] {
			of = append(of, 1e6*cores[round]/rate)
		}
		out = append(out, of)
	}
	return out
}

// turn lets users add and Redis be probed while what runs, and adds what came of it. What returns carts a second.
func (f *fanout) turn(ctx context.Context, into *series, what func(context.Context) (float64, error)) error {
	if err := f.probe.reset(ctx); err != nil {
		return err
	}
	pids := []int{f.redis.Pid(), f.api.cmd.Process.Pid, f.consumers.cmd.Process.Pid, f.kafka.Nodes[0].Pid()}
	before, err := cpus(pids)
	if err != nil {
		return err
	}
	began := time.Now()
	var over atomic.Bool
	var adds, pings []time.Duration
	var held []time.Duration
	var rate float64
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		adds, err = f.add(ctx, &over)
		return err
	})
	g.Go(func() (err error) {
		pings, err = f.probe.ping(ctx, &over)
		return err
	})
	g.Go(func() (err error) {
		defer over.Store(true)
		if rate, err = what(ctx); err != nil {
			return err
		}
		held, err = f.probe.held(ctx)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	elapsed := time.Since(began)
	figures := []float64{rate, ms(quantile(held, 1)), ms(quantile(pings, .99)), ms(quantile(pings, 1)), ms(quantile(adds, .5)), ms(quantile(adds, .99))}
	after, err := cpus(pids)
	for i := range after {
		figures = append(figures, float64(after[i]-before[i])/float64(elapsed))
	}
	into.add(figures...)
	return err
}

var errOver = errors.New("over")

// add lets the others add until it is over, and returns how long each add took, sorted.
func (f *fanout) add(ctx context.Context, over *atomic.Bool) ([]time.Duration, error) {
	var mu sync.Mutex
	var took []time.Duration
	_, err := pace(ctx, senders, perSecond, int(fanoutWithin.Seconds())*perSecond, func(_ context.Context, worker, _ int) error {
		if over.Load() {
			return errOver
		}
		sent := time.Now()
		_, err := f.clients[worker].add(f.adders[rand.IntN(len(f.adders))], bookID(rand.IntN(books)), "") //nolint:gosec // nothing secret about a load
		mu.Lock()
		took = append(took, time.Since(sent))
		mu.Unlock()
		return err
	})
	if !errors.Is(err, errOver) {
		return nil, errors.Join(err, errors.New("the adds ended before what they were to go beside"))
	}
	slices.Sort(took)
	return took, nil
}
