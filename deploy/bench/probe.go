package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// probe asks a Redis how long others have to wait for it.
type probe struct{ client *redis.Client }

// logged is the least time of a command that the slow log keeps.
const logged = 500 * time.Microsecond

func openProbe(ctx context.Context, addr string) (*probe, error) {
	p := &probe{redis.NewClient(&redis.Options{Addr: addr})}
	for setting, value := range map[string]string{
		"slowlog-log-slower-than": fmt.Sprint(logged.Microseconds()), "slowlog-max-len": "100000",
	} {
		if err := p.client.ConfigSet(ctx, setting, value).Err(); err != nil {
			return nil, errors.Join(fmt.Errorf("set Redis's %s: %w", setting, err), p.client.Close())
		}
	}
	return p, nil
}

func (p *probe) close() { _ = p.client.Close() }

// reset forgets which commands took long.
func (p *probe) reset(ctx context.Context) error {
	return p.client.Do(ctx, "SLOWLOG", "RESET").Err()
}

// held is how long each command took since reset, sorted; those that took less than logged are left out.
func (p *probe) held(ctx context.Context) (took []time.Duration, err error) {
	entries, err := p.client.SlowLogGet(ctx, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("read Redis's slow log: %w", err)
	}
	for _, e := range entries {
		if len(e.Args) == 0 || e.Args[0] != "SLOWLOG" { // our own
			took = append(took, e.Duration)
		}
	}
	slices.Sort(took)
	return took, nil
}

// ping sends a PING each millisecond, the next one once the last is answered, and returns how long each took, sorted.
func (p *probe) ping(ctx context.Context, over *atomic.Bool) (took []time.Duration, err error) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !over.Load() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		sent := time.Now()
		if err := p.client.Ping(ctx).Err(); err != nil {
			return nil, fmt.Errorf("PING: %w", err)
		}
		took = append(took, time.Since(sent))
	}
	slices.Sort(took)
	return took, nil
}
