package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"cartstream/deploy/engines/engine"
)

const socketsAbout = `
sockets: %d WebSockets, each of another user, open and idle.
  api        subscribed, cart read, snapshot sent
  bare       net/http and coder/websocket, accepted, CloseRead; nothing is ever sent, nothing else kept
  KiB each   by which the process grew: Go's heap and stacks in use after a collection (go_memstats_heap_inuse_bytes, stack_inuse_bytes),
             and resident memory, which also holds what the opening took and Go has not given back yet,
             and in later rounds grows into what earlier ones left: the largest is the first
  opened/s   on %d connections at a time

`

// idleSockets is how many are opened. Two processes hold each, and file descriptors have bounds.
const idleSockets = 10_000

// idleSocketsRuns measures what open sockets cost.
func idleSocketsRuns(ctx context.Context, b *bench) (err error) {
	s, err := b.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	ports, err := engine.FreePorts(1)
	if err != nil {
		return err
	}
	addr := "127.0.0.1:" + strconv.Itoa(ports[0])
	bare, err := s.launch(ctx, "gateway", addr, nil, "-addr", addr)
	if err != nil {
		return err
	}
	if err := bare.listening(ctx); err != nil {
		return err
	}
	n := b.sized(idleSockets)
	users, err := callers(n)
	if err != nil {
		return err
	}
	api, plain := series{name: "api"}, series{name: "bare"}
	for round := range b.few() {
		for _, side := range []struct {
			p       *process
			profile string
			into    *series
		}{{s.api, s.pprof, &api}, {bare, bare.addr, &plain}} {
			if err := socketsTurn(ctx, side.p, side.profile, users, side.into); err != nil {
				return err
			}
		}
		b.say("sockets: round %d of %d: %.1f/%.1f KiB", round+1, b.few(), api.cells[0][round], plain.cells[0][round])
	}
	if _, err := fmt.Fprintf(b.out, socketsAbout, n, senders); err != nil {
		return err
	}
	t := table{columns: []column{{"heap+stacks KiB each", 1}, {"resident KiB each", 1}, {"opened/s", 0}}}
	t.compare(api, plain)
	return t.print(b.out)
}

// socketsTurn opens the sockets, looks, and closes them.
func socketsTurn(ctx context.Context, p *process, profile string, users []caller, into *series) error {
	before, err := memory(ctx, p, profile)
	if err != nil {
		return err
	}
	began := time.Now()
	open, err := openIdle(ctx, p.addr, users)
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	if err != nil {
		return err
	}
	took := time.Since(began)
	if err := sleep(ctx, 2*time.Second); err != nil { // what opened them is over
		return err
	}
	after, err := memory(ctx, p, profile)
	n := float64(len(users))
	into.add((after.used-before.used)/n/1024, (after.resident-before.resident)/n/1024, n/took.Seconds())
	return err
}

// footprint is a process's memory, in bytes.
type footprint struct{ used, resident float64 }

// memory lets the process collect its garbage and looks.
func memory(ctx context.Context, p *process, profile string) (f footprint, err error) {
	for range 2 { // what the first one found is free after the second
		if _, err := get(ctx, "http://"+profile+"/debug/pprof/heap?gc=1"); err != nil {
			return f, err
		}
	}
	for _, name := range []string{"go_memstats_heap_inuse_bytes ", "go_memstats_stack_inuse_bytes "} {
		v, err := metric(ctx, p.addr, name)
		if err != nil {
			return f, err
		}
		f.used += v
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return f, err
	}
	var size, pages int
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return f, err
	}
	f.resident = float64(pages * os.Getpagesize())
	return f, nil
}

// openIdle opens a socket a user and keeps no more of it than the connection.
func openIdle(ctx context.Context, addr string, users []caller) (open []net.Conn, err error) {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(senders)
	for _, u := range users {
		g.Go(func() error {
			conn, err := upgrade(ctx, addr, u.id)
			if err != nil {
				return fmt.Errorf("open the socket of %s: %w", u.id, err)
			}
			mu.Lock()
			defer mu.Unlock()
			open = append(open, conn)
			return nil
		})
	}
	err = g.Wait()
	runtime.GC() // leaves the cores to the others
	return open, err
}

// upgrade makes the handshake by hand and reads the answer, not what follows.
func upgrade(ctx context.Context, addr, user string) (net.Conn, error) {
	token, err := sign(user, "customer")
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(conn, "GET /v1/cart/live HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer %s\r\n\r\n", addr, token)
	if err != nil {
		return nil, err
	}
	_ = conn.SetReadDeadline(time.Now().Add(lateAfter))
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 1024), nil)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close() // there is none
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("%w: %s", errAnswer, resp.Status)
	}
	return conn, conn.SetReadDeadline(time.Time{})
}
