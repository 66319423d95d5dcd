package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	sockets   = 1000
	perSecond = 1000
	senders   = 16
	// lateAfter is how long a change may be on its way before it counts as missing.
	lateAfter = 5 * time.Second
)

const socketAbout = `
ack-to-socket: %d changes/s of %d users, each with one WebSocket; Redis (AOF everysec), Kafka, api with relay, consumer push.
  socket    from when a change's answer is here to when its frame is; 0 where the frame came first
  SPUBLISH  from before an SPUBLISH of 400 bytes, on the same Redis at the same rate, to when its frame is here, through a bare
            gateway (coder/websocket behind Gin) with as many sockets
  Both sides' sockets are read by this process, so that what it costs is in both.

`

// ackToSocket measures how long after its answer a change is on the user's screens.
func ackToSocket(ctx context.Context, b *bench) (err error) {
	s, err := b.start(ctx, "push")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	ctx, cancel := context.WithCancel(ctx) // before the stack ends, so that no socket complains
	defer cancel()
	if err := s.createBooks(ctx); err != nil {
		return err
	}
	users, err := callers(b.sized(sockets))
	if err != nil {
		return err
	}
	product, err := openSockets(ctx, s.api.addr, users)
	if err != nil {
		return err
	}
	defer product.close()
	bare, err := s.bare(ctx, "")
	if err != nil {
		return err
	}
	plain, err := openChannels(ctx, s.redis.Addr, bare.addr, users)
	if err != nil {
		return err
	}
	defer plain.close()

	socket, publish := series{name: "socket"}, series{name: "SPUBLISH"}
	for round := range b.rounds {
		for _, side := range []struct {
			into *series
			turn func(context.Context, int) (delays, error)
		}{{&socket, product.turn}, {&publish, plain.turn}} {
			if _, err := side.turn(ctx, int(warm.Seconds()*perSecond)); err != nil {
				return err
			}
			d, err := side.turn(ctx, int(b.each.Seconds()*perSecond))
			if err != nil {
				return err
			}
			side.into.add(float64(d.sent)/d.elapsed.Seconds(), ms(quantile(d.all, .5)), ms(quantile(d.all, .99)),
				ms(quantile(d.all, 1)), float64(d.sent-len(d.all)))
		}
		b.say("ack-to-socket: round %d of %d", round+1, b.rounds)
	}
	t := table{columns: []column{{"changes/s", 0}, {"p50 ms", 2}, {"p99 ms", 2}, {"longest ms", 2}, {"missing", 0}}}
	t.compare(socket, publish)
	if _, err := fmt.Fprintf(b.out, socketAbout, perSecond, len(users)); err != nil {
		return err
	}
	return t.print(b.out)
}

// delays are what one turn measured, sorted.
type delays struct {
	sent    int
	elapsed time.Duration
	all     []time.Duration
}

// devices are the users' sockets and the connections that change their carts.
type devices struct {
	sockets []*device
	users   []caller
	clients []*client
}

func openSockets(ctx context.Context, addr string, users []caller) (*devices, error) {
	d := &devices{users: users, sockets: make([]*device, len(users))}
	for range senders {
		c, err := dial(ctx, addr)
		if err != nil {
			return nil, err
		}
		d.clients = append(d.clients, c)
	}
	var g errgroup.Group
	g.SetLimit(senders)
	for i, u := range users {
		g.Go(func() (err error) {
			d.sockets[i], err = connect(ctx, addr, u.id)
			return err
		})
	}
	return d, g.Wait()
}

func (d *devices) close() {
	for _, s := range d.sockets {
		_ = s.conn.CloseNow()
	}
	for _, c := range d.clients {
		_ = c.conn.Close()
	}
}

// turn makes n changes and waits until the sockets have shown them.
func (d *devices) turn(ctx context.Context, n int) (delays, error) {
	elapsed, err := pace(ctx, senders, perSecond, n, func(_ context.Context, worker, i int) error {
		tag, err := d.clients[worker].add(d.users[i%len(d.users)], bookID(rand.IntN(books)), "") //nolint:gosec // nothing secret about a load
		if err != nil {
			return err
		}
		return d.sockets[i%len(d.users)].answer(tag, time.Now())
	})
	if err != nil {
		return delays{}, err
	}
	for until := time.Now().Add(lateAfter); time.Now().Before(until); {
		waiting := 0
		for _, s := range d.sockets {
			w, err := s.waiting()
			if err != nil {
				return delays{}, fmt.Errorf("socket of %s: %w", s.user, err)
			}
			waiting += w
		}
		if waiting == 0 {
			break
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return delays{}, err
		}
	}
	r := delays{sent: n, elapsed: elapsed}
	for _, s := range d.sockets {
		r.all = append(r.all, s.take()...)
	}
	slices.Sort(r.all)
	return r, nil
}
