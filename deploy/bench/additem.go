package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

const addUsers = 1000

const addAbout = `
add-item: POST /v1/cart/items, one copy of one of 20 books for one of 1,000 users, each connection waits for its answer.
  api    token checked, rate limit on (never reached), every check of the product
  bare   Gin, the same script with the same arguments, one EVALSHA a request; no token, no limits, no JSON answer
  Both against the same Redis (AOF everysec), in turns. The relay is held: Kafka is frozen, outboxes fill. No consumers.
  CPU is the process's own time a call, Redis's the same; both carry over to other machines better than requests a second.

`

// addItem measures the API's hottest call.
func addItem(ctx context.Context, b *bench) (err error) {
	s, err := b.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	users, bare, err := s.prepareAdds(ctx)
	if err != nil {
		return err
	}
	if err := s.holdRelay(); err != nil {
		return err
	}
	if err := s.warmUp(ctx, users, s.api, bare); err != nil { // fills the relay's memory too
		return err
	}
	settings := addSettings(users)
	for round := range b.rounds {
		for _, c := range settings {
			if err := errors.Join(s.turn(ctx, b.each, c.load, s.api, &c.api), s.turn(ctx, b.each, c.load, bare, &c.bare)); err != nil {
				return err
			}
		}
		b.sayAdds(round, settings)
	}
	if err := b.printAdds(addAbout, settings); err != nil || b.profile == "" {
		return err
	}
	return b.profileAdds(ctx, s, load{addr: s.api.addr, callers: users, connections: 64})
}

func addSettings(users []caller) (all []*addSetting) {
	for _, connections := range []int{16, 64} {
		for _, keyed := range []bool{false, true} {
			all = append(all, newAddSetting(load{callers: users, connections: connections, keyed: keyed}))
		}
	}
	return all
}

// sayAdds tells what a round gave, so that one that was disturbed shows.
func (b *bench) sayAdds(round int, settings []*addSetting) {
	var each []string
	for _, c := range settings {
		each = append(each, fmt.Sprintf("%.0f/%.0f", c.api.cells[0][round], c.bare.cells[0][round]))
	}
	b.say("round %d of %d, requests/s api/bare: %s", round+1, b.rounds, strings.Join(each, ", "))
}

func (b *bench) printAdds(about string, settings []*addSetting) error {
	t := table{columns: turnColumns}
	for _, c := range settings {
		t.head(c.name)
		t.compare(c.api, c.bare)
	}
	if _, err := io.WriteString(b.out, about); err != nil {
		return err
	}
	return t.print(b.out)
}

// addSetting is a load and what both sides made of it.
type addSetting struct {
	name      string
	load      load
	api, bare series
}

func newAddSetting(l load) *addSetting {
	name := fmt.Sprintf("%d connections", l.connections)
	if l.keyed {
		name += ", Idempotency-Key"
	}
	return &addSetting{name, l, series{name: "  api"}, series{name: "  bare"}}
}

// turnColumns are what turn adds.
var turnColumns = []column{{"requests/s", 0}, {"p50 ms", 2}, {"p99 ms", 2}, {"CPU µs", 1}, {"Redis CPU µs", 1}}

// turn measures the load on one side.
func (s *stack) turn(ctx context.Context, d time.Duration, l load, p *process, into *series) error {
	l.addr = p.addr
	m, err := l.measure(ctx, d, p.cmd.Process.Pid, s.redis.Pid())
	if err != nil {
		return fmt.Errorf("%s: %w", strings.TrimSpace(into.name), err)
	}
	calls := float64(len(m.latencies))
	into.add(calls/m.elapsed.Seconds(), ms(quantile(m.latencies, .5)), ms(quantile(m.latencies, .99)), us(m.cpu[0])/calls, us(m.cpu[1])/calls)
	return nil
}

// prepareAdds fills the catalogue, records the API's calls and starts the bare handlers.
func (s *stack) prepareAdds(ctx context.Context) (users []caller, bare *process, err error) {
	if err := s.createBooks(ctx); err != nil {
		return nil, nil, err
	}
	if users, err = callers(addUsers); err != nil {
		return nil, nil, err
	}
	calls, err := s.record(ctx, users)
	if err != nil {
		return nil, nil, err
	}
	bare, err = s.bare(ctx, calls)
	return users, bare, err
}

// warmUp lets both sides work for a second.
func (s *stack) warmUp(ctx context.Context, users []caller, sides ...*process) error {
	for _, p := range sides {
		if _, err := (load{addr: p.addr, callers: users, connections: 64}).measure(ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}

// profileAdds writes a CPU profile of the api under the load.
func (b *bench) profileAdds(ctx context.Context, s *stack, l load) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seconds := max(1, int(5*b.each.Seconds())) // a busy machine's kernel drops samples
	loaded := make(chan error, 1)
	go func() {
		_, err := l.measure(ctx, time.Duration(seconds+1)*time.Second)
		loaded <- err
	}()
	if err := sleep(ctx, warm); err != nil {
		return err
	}
	profile, err := request(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", s.pprof, seconds), "", "")
	if err := errors.Join(err, <-loaded); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	if err := os.WriteFile(b.profile, profile, 0o600); err != nil {
		return err
	}
	b.say("profile of %d s at %d connections: go tool pprof -top %s", seconds, l.connections, b.profile)
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
