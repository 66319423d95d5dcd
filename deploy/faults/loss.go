package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/redis/go-redis/v9"
)

// errNothingLost says that a loss of Redis was not one, so that the run proves nothing.
var errNothingLost = errors.New("nothing was lost")

// What losses of Redis are told by.
const (
	cutFile  = "cut the end of Redis's file"
	promoted = "promote a replica that lags"
	flushed  = "FLUSHALL"
	wiped    = "lose all of Redis's data"
)

// recoverFor bounds how long shards may be closed after a loss.
const recoverFor = 90 * time.Second

// lose makes Redis lose something: cut keeps everybody off, strike takes it away, and back opens the way to what is left.
// That something is gone is made sure of, and how long it takes until every shard is served again is noted.
// cut is nil where nobody can be kept off.
func (st *strikes) lose(ctx context.Context, kind string, cut func(), strike, back func() error) error {
	if cut != nil {
		cut()
	}
	l := loss{kind: kind, at: st.since(), began: time.Now()}
	before, err := st.stack.written(ctx)
	if err != nil {
		return err
	}
	if err := strike(); err != nil {
		return err
	}
	after, err := st.stack.written(ctx)
	if err != nil {
		return err
	}
	if l.entries = before - after; l.entries <= 0 {
		return fmt.Errorf("%w: %d changes before, %d after", errNothingLost, before, after)
	}
	if cut != nil {
		if l.ends, err = st.stack.ends(ctx); err != nil {
			return err
		}
	}
	if err := back(); err != nil {
		return err
	}
	opened := time.Now()
	err = until(ctx, recoverFor, func(ctx context.Context) (err error) {
		l.carts, err = st.served(ctx)
		return err
	})
	l.ready = time.Since(opened)
	st.losses = append(st.losses, l)
	st.say("%5.1f s: Redis lost %d changes, every shard was served again after %.1f s", st.since().Seconds(), l.entries, l.ready.Seconds())
	return err
}

// written is how many entries all outboxes have ever had.
func (s *stack) written(ctx context.Context) (n int64, err error) {
	var names []string
	all := s.redis.ScanType(ctx, 0, "*", 10000, "stream").Iterator()
	for all.Next(ctx) {
		names = append(names, all.Val())
	}
	if all.Err() != nil {
		return 0, all.Err()
	}
	asked := s.redis.Pipeline()
	for _, name := range names {
		asked.XInfoStream(ctx, name)
	}
	answers, err := asked.Exec(ctx)
	for _, a := range answers {
		n += a.(*redis.XInfoStreamCmd).Val().EntriesAdded
	}
	return n, err
}

// served returns the version number of every user's cart, or an error while an api doesn't serve every shard.
func (st *strikes) served(ctx context.Context) (map[string]int64, error) {
	for _, p := range st.stack.apis {
		a, err := send(ctx, p.addr, "", call{method: http.MethodGet, path: "/readyz"})
		if err != nil {
			return nil, err
		}
		var found struct {
			Shards struct{ Ready, Recovering int }
		}
		if err := json.Unmarshal(a.body, &found); err != nil {
			return nil, err
		}
		if found.Shards.Recovering > 0 || found.Shards.Ready == 0 {
			return nil, fmt.Errorf("%s: %s", p.name, a.body)
		}
	}
	carts, err := st.carts(ctx)
	numbers := make(map[string]int64, len(carts))
	for user, c := range carts {
		numbers[user] = c.Version
	}
	return numbers, err
}

// cutAOF ends Redis and takes away the end of its append-only file, from a random point of its last second on: what a
// crash of the machine does to a file that is synced once a second.
func (st *strikes) cutAOF() fault {
	age := st.between(20*time.Millisecond, second)
	inside := st.random.IntN(2) == 0
	within := st.random.Uint64()
	what := fmt.Sprintf("cut Redis's file %d ms before its end", age.Milliseconds())
	if inside {
		what += ", inside a transaction"
	}
	s := st.stack
	return fault{cutFile, what, 0, func(ctx context.Context) error {
		grown, err := s.watchFile(ctx, second+200*time.Millisecond)
		if err != nil {
			return err
		}
		end := time.Now()
		return st.lose(ctx, cutFile, s.toRedis.cut, func() error {
			if err := s.master.Kill(); err != nil {
				return err
			}
			if err := truncate(s.file(), grown, end.Add(-age), inside, rand.New(rand.NewPCG(within, 0))); err != nil { //nolint:gosec // has to be repeatable
				return err
			}
			return s.master.Start(ctx)
		}, func() error { return s.toRedis.mend(ctx) })
	}, nil}
}

// flush deletes everything, though the server stays and keeps its scripts.
func (st *strikes) flush() fault {
	return fault{flushed, flushed, 0, func(ctx context.Context) error {
		return st.lose(ctx, flushed, nil, func() error { return st.stack.redis.FlushAll(ctx).Err() }, func() error { return nil })
	}, nil}
}

// wipe takes the server's data away as well as the server.
func (st *strikes) wipe() fault {
	return fault{wiped, wiped, 0, func(ctx context.Context) error {
		return st.lose(ctx, wiped, nil, func() error {
			if err := st.stack.master.Kill(); err != nil {
				return err
			}
			if err := os.RemoveAll(filepath.Dir(st.stack.file())); err != nil {
				return err
			}
			return st.stack.master.Start(ctx)
		}, func() error { return nil })
	}, nil}
}

// file is the master's append-only file, the part that grows.
func (s *stack) file() string {
	found, _ := filepath.Glob(filepath.Join(s.dir, s.master.Name, "appendonlydir", "*.incr.aof"))
	if len(found) == 0 {
		return filepath.Join(s.dir, s.master.Name, "appendonlydir", "none")
	}
	sort.Slice(found, func(i, j int) bool {
		return len(found[i]) < len(found[j]) || len(found[i]) == len(found[j]) && found[i] < found[j]
	})
	return found[len(found)-1]
}

// growth is the sizes that a file had, and when.
type growth []struct {
	at   time.Time
	size int64
}

func (s *stack) watchFile(ctx context.Context, d time.Duration) (g growth, err error) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		info, err := os.Stat(s.file())
		if err != nil {
			return nil, err
		}
		g = append(g, struct {
			at   time.Time
			size int64
		}{time.Now(), info.Size()})
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// around returns the sizes between which the file grew at that time: the last one before, and the next larger one.
func (g growth) around(at time.Time) (from, to int64) {
	i := max(0, sort.Search(len(g), func(i int) bool { return g[i].at.After(at) })-1)
	from = g[i].size
	for _, later := range g[i:] {
		if later.size > from {
			return from, later.size
		}
	}
	return from, from
}

// truncate cuts the file at a random point of what was written at that time, or, where inside, between the next MULTI
// and its EXEC, if there is one.
func truncate(path string, g growth, at time.Time, inside bool, random *rand.Rand) error {
	from, to := g.around(at)
	if inside {
		text, err := os.ReadFile(path) //nolint:gosec // Redis's file, in a directory of ours
		if err != nil {
			return err
		}
		rest := text[min(from, int64(len(text))):]
		begin := bytes.Index(rest, []byte("MULTI\r\n"))
		if end := bytes.Index(rest[max(0, begin):], []byte("EXEC\r\n")); begin >= 0 && end >= 0 {
			from += int64(begin)
			to = from + int64(end)
		}
	}
	if to > from {
		from += random.Int64N(to - from)
	}
	return os.Truncate(path, from)
}
