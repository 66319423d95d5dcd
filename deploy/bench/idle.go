package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"cartstream/deploy/engines/engine"
)

const idleAbout = `
idle: what an instance costs that nobody calls, on engines that are up; and what Redis keeps.
  start      from before the process is started to /readyz ready, asked each 20 ms; bare: the plainest WebSocket gateway, to its first connection
  CPU        of one core, over %v without a call, once ready

`

const keptAbout = `
idle: Redis's memory (used_memory) by which it grew, each for %d users; outboxes are empty.
  a cart of 1, of 5 lines   one PUT or add a book, titles of 19 characters
  beside                    a plain hash a user with a field a line, the line as JSON
  a kept answer             an add under an Idempotency-Key, kept for 24 h

`

// keptUsers is how many users Redis's memory is measured with.
const keptUsers = 5000

// idleRuns measures what there is when nothing happens.
func idleRuns(ctx context.Context, b *bench) (err error) {
	s, err := b.start(ctx, "persist", "push", "state", "booksync", "timers")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	api, consumers, bare := series{name: "api"}, series{name: "consumers"}, series{name: "bare"}
	for round := range b.few() {
		if err := s.idleTurn(ctx, 3*b.each, map[*series]string{&api: "api", &consumers: "consumers", &bare: "gateway"}); err != nil {
			return err
		}
		b.say("idle: round %d of %d: api %.2f s, %.2f %%", round+1, b.few(), api.cells[0][round], api.cells[1][round])
	}
	if _, err := fmt.Fprintf(b.out, idleAbout, 3*b.each); err != nil {
		return err
	}
	t := table{columns: []column{{"start s", 2}, {"CPU %", 2}}}
	t.compare(api, bare)
	t.rows = append(t.rows, row{consumers, false})
	if err := t.print(b.out); err != nil {
		return err
	}
	return b.kept(ctx, s)
}

// idleTurn restarts the programs and leaves them alone.
func (s *stack) idleTurn(ctx context.Context, d time.Duration, sides map[*series]string) error {
	running := map[*series]*process{}
	for into, name := range sides {
		began := time.Now()
		p, err := s.again(ctx, name)
		if err != nil {
			return err
		}
		running[into] = p
		into.add(time.Since(began).Seconds(), 0)
	}
	if err := sleep(ctx, 3*time.Second); err != nil { // groups are joined, leases taken
		return err
	}
	used := map[*series]time.Duration{}
	began := time.Now()
	for into, p := range running {
		var err error
		if used[into], err = cpu(p.cmd.Process.Pid); err != nil {
			return err
		}
	}
	if err := sleep(ctx, d); err != nil {
		return err
	}
	for into, p := range running {
		after, err := cpu(p.cmd.Process.Pid)
		if err != nil {
			return err
		}
		into.cells[1][len(into.cells[1])-1] = 100 * float64(after-used[into]) / float64(time.Since(began))
	}
	return nil
}

// again ends the program where it runs and starts it anew, until it is ready.
func (s *stack) again(ctx context.Context, name string) (*process, error) {
	var p *process
	for i, old := range s.processes {
		if strings.HasSuffix(old.cmd.Path, "/"+name) {
			old.kill()
			next, err := launch(ctx, s.dir, old.cmd.Path, old.addr, old.cmd.Env, old.cmd.Args[1:]...)
			if err != nil {
				return nil, err
			}
			p, s.processes[i] = next, next
		}
	}
	switch {
	case p == nil:
		ports, err := engine.FreePorts(1)
		if err != nil {
			return nil, err
		}
		addr := "127.0.0.1:" + strconv.Itoa(ports[0])
		if p, err = s.launch(ctx, name, addr, nil, "-addr", addr); err != nil {
			return nil, err
		}
		return p, p.listening(ctx)
	case name == "gateway":
		return p, p.listening(ctx)
	case name == "api":
		s.api = p
	default:
		s.consumers = p
	}
	return p, p.ready(ctx)
}

// kept measures what Redis keeps of a cart and of an answer.
func (b *bench) kept(ctx context.Context, s *stack) error {
	if err := s.createBooks(ctx); err != nil {
		return err
	}
	all, err := callers(2 * b.sized(keptUsers))
	if err != nil {
		return err
	}
	users, others := all[:len(all)/2], all[len(all)/2:]
	for i := range 5 { // what shards keep of a book, whoever has it
		if err := s.addEach(ctx, others, bookID(i), i == 0); err != nil {
			return err
		}
	}
	if err := s.relayed(ctx); err != nil {
		return err
	}
	r := redis.NewClient(&redis.Options{Addr: s.redis.Addr, MaxRetries: -1})
	defer r.Close() //nolint:errcheck // only a connection
	grows := func(do func() error) (float64, error) {
		before, err := usedMemory(ctx, r)
		if err != nil {
			return 0, err
		}
		if err := errors.Join(do(), s.relayed(ctx)); err != nil {
			return 0, err
		}
		after, err := usedMemory(ctx, r)
		return (after - before) / float64(len(users)), err
	}
	add := func(book string, keyed bool) func() error {
		return func() error { return s.addEach(ctx, users, book, keyed) }
	}
	plain := func(key string, lines int) func() error {
		return func() error { return plainCarts(ctx, r, key, users, lines) }
	}
	steps := []func() error{add(bookID(0), false), func() error {
		return errors.Join(add(bookID(1), false)(), add(bookID(2), false)(), add(bookID(3), false)(), add(bookID(4), false)())
	}, plain("one", 1), plain("five", 5), add(bookID(0), true)}
	grew := make([]float64, len(steps))
	for i, step := range steps {
		if grew[i], err = grows(step); err != nil {
			return err
		}
	}
	one, five := series{name: "a cart of 1 line"}, series{name: "a cart of 5 lines"}
	hash1, hash5, answer := series{name: "a hash of 1 field"}, series{name: "a hash of 5 fields"}, series{name: "a kept answer"}
	one.add(grew[0])
	five.add(grew[0] + grew[1])
	hash1.add(grew[2])
	hash5.add(grew[3])
	answer.add(grew[4])
	if _, err := fmt.Fprintf(b.out, keptAbout, len(users)); err != nil {
		return err
	}
	t := table{columns: []column{{"bytes each", 0}}}
	t.compare(one, hash1)
	t.compare(five, hash5)
	t.rows = append(t.rows, row{answer, false})
	return t.print(b.out)
}

// addEach adds the book once for each user.
func (s *stack) addEach(ctx context.Context, users []caller, book string, keyed bool) error {
	g, ctx := errgroup.WithContext(ctx)
	for worker := range senders {
		g.Go(func() error {
			c, err := dial(ctx, s.api.addr)
			if err != nil {
				return err
			}
			defer c.conn.Close() //nolint:errcheck // nothing is left to say on it
			key := ""
			for i := worker; i < len(users); i += senders {
				if keyed {
					key = newKey()
				}
				if _, err := c.add(users[i], book, key); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return g.Wait()
}

// plainCarts keeps carts in the plainest way.
func plainCarts(ctx context.Context, r *redis.Client, key string, users []caller, lines int) error {
	for _, u := range users {
		var fields []any
		for i := range lines {
			fields = append(fields, bookID(i), `{"title":"The Pickwick Papers","unitPrice":1299,"quantity":1}`)
		}
		if err := r.HSet(ctx, "plain:"+key+":"+u.id, fields...).Err(); err != nil {
			return err
		}
	}
	return nil
}

func usedMemory(ctx context.Context, r *redis.Client) (float64, error) {
	text, err := r.Info(ctx, "memory").Result()
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Fields(text) {
		if value, ok := strings.CutPrefix(line, "used_memory:"); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("used_memory is missing in %.200s", text)
}
