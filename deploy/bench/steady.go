package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Twenty looks, half a minute apart, are ten minutes.
const (
	looks      = 20
	eachLookAt = 30 * perSecond // changes
)

const steadyAbout = `
steady: %d changes/s of %d users, each with one WebSocket, without a pause but for the looks: api with relay, every consumer.
  The first look is after %.0f s and not counted, the others as far apart; the carts have all their lines before.
  heap+stacks  in use after a collection; goroutines: right before it
  Redis        used_memory: carts, outboxes, changed carts

`

// steadyRun shows what grows under a load that doesn't.
func steadyRun(ctx context.Context, b *bench) (err error) {
	s, err := b.start(ctx, everyConsumer)
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
	for i := range books {
		if err := s.addEach(ctx, users, bookID(i), false); err != nil {
			return err
		}
	}
	crowd, err := openSockets(ctx, s.api.addr, users)
	if err != nil {
		return err
	}
	defer crowd.close()
	r := redis.NewClient(&redis.Options{Addr: s.redis.Addr, MaxRetries: -1})
	defer r.Close() //nolint:errcheck // only a connection

	first, second := series{name: "first half"}, series{name: "second half"}
	for look := range looks + 1 {
		d, err := crowd.turn(ctx, b.sized(eachLookAt))
		if err != nil {
			return err
		}
		figures, err := s.look(ctx, r)
		if err != nil {
			return err
		}
		b.say("steady: look %d of %d: %d changes, %d not shown, api %.0f goroutines and %.1f MiB", look, looks, d.sent, d.sent-len(d.all), figures[0], figures[1])
		switch {
		case look == 0: // buffers and pools have reached their size after it
		case look <= looks/2:
			first.add(figures...)
		default:
			second.add(figures...)
		}
	}
	if _, err := fmt.Fprintf(b.out, steadyAbout, perSecond, len(users), float64(b.sized(eachLookAt))/perSecond); err != nil {
		return err
	}
	t := table{columns: []column{{"api goroutines", 0}, {"heap+stacks MiB", 2}, {"resident MiB", 1},
		{"consumers goroutines", 0}, {"heap+stacks MiB", 2}, {"resident MiB", 1}, {"Redis MiB", 1}}}
	t.compare(second, first)
	return t.print(b.out)
}

// look is what both processes and Redis hold now.
func (s *stack) look(ctx context.Context, r *redis.Client) (figures []float64, err error) {
	const mib = 1 << 20
	for _, of := range []struct {
		p     *process
		pprof string
	}{{s.api, s.pprof}, {s.consumers, s.consumersPprof}} {
		goroutines, err := metric(ctx, of.p.addr, "go_goroutines ")
		if err != nil {
			return nil, err
		}
		f, err := memory(ctx, of.p, of.pprof)
		if err != nil {
			return nil, err
		}
		figures = append(figures, goroutines, f.used/mib, f.resident/mib)
	}
	kept, err := usedMemory(ctx, r)
	return append(figures, kept/mib), err
}
