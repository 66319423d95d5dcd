package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// ackSenders are enough for each add to be sent when it is due, unless answers take over 60 ms.
const ackSenders = 64

const ackAbout = `
ack-kafka: POST /v1/cart/items, %d a second on %d connections, from when each was due to be sent to its answer.
  kafka   an api with ACK=kafka: a change is answered once Kafka has it and the relay has said so
  redis   an api with ACK=redis
  Each has engines of its own and relays for itself; only one is asked at a time. No consumers.

`

// ackKafka measures what it costs to be answered only once Kafka has the change.
func ackKafka(ctx context.Context, b *bench) (err error) {
	sure := *b
	sure.env = []string{"ACK=kafka"}
	var addrs []string
	for _, one := range []*bench{&sure, b} {
		s, err := one.start(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		if err := s.createBooks(ctx); err != nil {
			return err
		}
		addrs = append(addrs, s.api.addr)
	}
	users, err := callers(addUsers)
	if err != nil {
		return err
	}
	late, soon := series{name: "kafka"}, series{name: "redis"}
	for round := range b.rounds {
		for _, side := range []struct {
			addr string
			into *series
		}{{addrs[0], &late}, {addrs[1], &soon}} {
			if _, err := pacedAdds(ctx, side.addr, users, warm); err != nil {
				return fmt.Errorf("%s: %w", side.into.name, err)
			}
			took, err := pacedAdds(ctx, side.addr, users, b.each)
			if err != nil {
				return fmt.Errorf("%s: %w", side.into.name, err)
			}
			side.into.add(ms(quantile(took, .5)), ms(quantile(took, .99)), ms(quantile(took, 1)))
		}
		b.say("ack-kafka: round %d of %d, p50 %.2f/%.2f ms", round+1, b.rounds, late.cells[0][round], soon.cells[0][round])
	}
	t := table{columns: []column{{"p50 ms", 2}, {"p99 ms", 2}, {"longest ms", 2}}}
	t.compare(late, soon)
	t.differ(late, soon)
	if _, err := fmt.Fprintf(b.out, ackAbout, perSecond, ackSenders); err != nil {
		return err
	}
	return t.print(b.out)
}

// pacedAdds sends perSecond adds a second for d and returns how long each took from when it was due, sorted: one that had to
// wait for a connection has waited, too.
func pacedAdds(ctx context.Context, addr string, users []caller, d time.Duration) ([]time.Duration, error) {
	var clients []*client
	defer func() {
		for _, c := range clients {
			_ = c.conn.Close()
		}
	}()
	for range ackSenders {
		c, err := dial(ctx, addr)
		if err != nil {
			return nil, err
		}
		clients = append(clients, c)
	}
	var mu sync.Mutex
	var took []time.Duration
	began := time.Now()
	_, err := pace(ctx, ackSenders, perSecond, int(d.Seconds()*perSecond), func(_ context.Context, worker, i int) error {
		due := began.Add(time.Duration(i) * time.Second / perSecond)
		if _, err := clients[worker].add(users[rand.IntN(len(users))], bookID(rand.IntN(books)), ""); err != nil { //nolint:gosec // nothing secret about a load
			return err
		}
		mu.Lock()
		took = append(took, time.Since(due))
		mu.Unlock()
		return nil
	})
	slices.Sort(took)
	return took, err
}
