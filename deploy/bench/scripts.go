package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"cartstream/deploy/bench/replay"
)

const (
	// connections call scripts, with deep calls under way on each.
	connections = 2
	deep        = 64
)

// scripts calls the recorded script on a Redis that nobody else asks.
type scripts struct {
	stack  *stack
	client *redis.Client
	adds   replay.Adds
	users  []scriptUser
	outbox map[string]bool
	noop   string // a script that only answers
	at     time.Time
}

// scriptUser is a user whose cart is in the shard of one whose calls were recorded.
type scriptUser struct{ id, like string }

// prepareScript records the API's calls, and ends the API.
func (s *stack) prepareScript(ctx context.Context) (*scripts, error) {
	if err := s.createBooks(ctx); err != nil {
		return nil, err
	}
	all, err := callers(addUsers + manyLinesCarts)
	if err != nil {
		return nil, err
	}
	path, err := s.record(ctx, all)
	if err != nil {
		return nil, err
	}
	s.api.kill()
	r := &scripts{stack: s, outbox: map[string]bool{}, at: time.Now()}
	text, err := os.ReadFile(path) //nolint:gosec // it was just written
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &r.adds); err != nil {
		return nil, err
	}
	for _, u := range all {
		r.users = append(r.users, scriptUser{u.id, u.id})
		r.outbox[r.adds.Outbox(u.id)] = true
	}
	r.client = redis.NewClient(&redis.Options{Addr: s.redis.Addr, PoolSize: connections + 1, MaxRetries: -1})
	r.noop, err = r.client.ScriptLoad(ctx, "return 'ok '").Result()
	return r, err
}

// adds are what a turn does: users add one of so many books at a time of their own.
type adds struct {
	users   []scriptUser
	books   int
	instead string // another script than the product's, unless ""
	at      time.Time
}

// turn makes the adds for d.
func (r *scripts) turn(ctx context.Context, d time.Duration, a adds, into *series) error {
	if err := r.client.ConfigResetStat(ctx).Err(); err != nil {
		return err
	}
	before, err := cpu(r.stack.redis.Pid())
	if err != nil {
		return err
	}
	began := time.Now()
	n, err := r.each(ctx, func(int) (replay.Call, bool, error) {
		user, book := a.users[rand.IntN(len(a.users))], bookID(rand.IntN(a.books)) //nolint:gosec // nothing secret about a load
		c, err := r.adds.As(user.id, user.like, book, a.at)
		if a.instead != "" {
			c.SHA = a.instead
		}
		return c, time.Since(began) < d, err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", into.name, err)
	}
	elapsed := time.Since(began)
	after, err := cpu(r.stack.redis.Pid())
	if err != nil {
		return err
	}
	stats, err := r.client.Info(ctx, "commandstats").Result()
	if err != nil {
		return err
	}
	_, stats, _ = strings.Cut(stats, "cmdstat_evalsha:")
	_, stats, _ = strings.Cut(stats, "usec_per_call=")
	stats, _, _ = strings.Cut(stats, ",")
	script, err := strconv.ParseFloat(stats, 64)
	if err != nil {
		return fmt.Errorf("what Redis counts for EVALSHA: %w", err)
	}
	into.add(float64(n)/elapsed.Seconds(), us(after-before)/float64(n), script)
	return r.trim(ctx)
}

// each makes calls until next has no more, and returns how many. Each has to be answered with ok.
func (r *scripts) each(ctx context.Context, next func(i int) (c replay.Call, more bool, err error)) (int, error) {
	var asked, done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range connections {
		g.Go(func() error {
			for {
				pipe := r.client.Pipeline()
				for range deep {
					c, more, err := next(int(asked.Add(1) - 1))
					if err != nil {
						return err
					}
					if !more {
						break
					}
					args := make([]any, 0, 3+len(c.Keys)+len(c.Args))
					args = append(args, "EVALSHA", c.SHA, len(c.Keys))
					for _, list := range [][]string{c.Keys, c.Args} {
						for _, a := range list {
							args = append(args, a)
						}
					}
					pipe.Do(ctx, args...)
				}
				if pipe.Len() == 0 {
					return nil
				}
				answers, err := pipe.Exec(ctx)
				if err != nil {
					return err
				}
				done.Add(int64(len(answers)))
				for _, a := range answers {
					if text, _ := a.(*redis.Cmd).Text(); !strings.HasPrefix(text, "ok ") { //nolint:forcetypeassert // Do makes no other
						return fmt.Errorf("%w: the script said %q", errAnswer, text)
					}
				}
			}
		})
	}
	err := g.Wait()
	return int(done.Load()), err
}

// trim empties the outboxes, as a relay would.
func (r *scripts) trim(ctx context.Context) error {
	pipe := r.client.Pipeline()
	for key := range r.outbox {
		pipe.XTrimMaxLen(ctx, key, 0)
	}
	_, err := pipe.Exec(ctx)
	return err
}

// fill gives each of the users a line of each of so many books. No catalogue has to know the books: a call offers the facts
// of the recorded one.
func (r *scripts) fill(ctx context.Context, users []scriptUser, lines int) error {
	_, err := r.each(ctx, func(i int) (replay.Call, bool, error) {
		u := users[i%len(users)]
		c, err := r.adds.As(u.id, u.like, bookID(i/len(users)%lines), r.at)
		return c, i < lines*len(users), err
	})
	if err != nil {
		return fmt.Errorf("fill carts: %w", err)
	}
	return r.trim(ctx)
}

// grow makes new carts of one line until there are n users, and returns how much memory each takes.
func (r *scripts) grow(ctx context.Context, n int) (bytes float64, err error) {
	recorded, had := len(r.users), len(r.users)
	for i := had; i < had+n; i++ {
		r.users = append(r.users, scriptUser{"cart-" + strconv.Itoa(i), r.users[i%recorded].id})
	}
	return r.weigh(ctx, n, func(i int) (replay.Call, error) {
		u := r.users[had+i]
		return r.adds.As(u.id, u.like, bookID(0), r.at)
	})
}

// keptAnswer makes n keyed calls, and returns how much memory each takes.
func (r *scripts) keptAnswer(ctx context.Context, n int) (bytes float64, err error) {
	return r.weigh(ctx, n, func(i int) (replay.Call, error) {
		return r.adds.Add(r.users[i%len(r.users)].id, bookID(0), "1", newKey())
	})
}

// weigh makes n calls and returns by how much the memory that Redis uses has grown for each, outboxes aside.
func (r *scripts) weigh(ctx context.Context, n int, call func(i int) (replay.Call, error)) (float64, error) {
	before, err := r.memory(ctx)
	if err != nil {
		return 0, err
	}
	made, err := r.each(ctx, func(i int) (replay.Call, bool, error) {
		if i >= n {
			return replay.Call{}, false, nil
		}
		c, err := call(i)
		return c, true, err
	})
	if err != nil {
		return 0, err
	}
	if err := r.trim(ctx); err != nil {
		return 0, err
	}
	after, err := r.memory(ctx)
	return (after - before) / float64(made), err
}

func (r *scripts) memory(ctx context.Context) (float64, error) {
	info, err := r.client.Info(ctx, "memory").Result()
	if err != nil {
		return 0, err
	}
	_, info, _ = strings.Cut(info, "\r\nused_memory:")
	info, _, _ = strings.Cut(info, "\r\n")
	return strconv.ParseFloat(info, 64)
}
