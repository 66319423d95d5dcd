package reconcile

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"
)

const (
	// busyShare of a core: a Redis that works as much for others has callers, a thousand changes a second or so.
	busyShare = 0.03
	// Redis is looked at each lookEvery, for lookFor in which a run asks it nothing; looks times where it seems busy, since
	// heartbeats do so now and then, and callers each time.
	lookEvery = 500 * time.Millisecond
	lookFor   = 20 * time.Millisecond
	looks     = 3
)

// restraint lets a run over all carts go as fast as it can while nobody else needs Redis, and perSecond while somebody does
// or nothing is known of that.
type restraint struct {
	redis redis.UniversalClient
	slow  *rate.Limiter
	busy  bool
	until time.Time // what is known of busy holds
}

func newRestraint(r redis.UniversalClient) *restraint {
	return &restraint{redis: r, slow: rate.NewLimiter(perSecond, atOnce)}
}

// wait returns once n carts, atOnce at most, may be compared. It is called between two questions to Redis.
func (r *restraint) wait(ctx context.Context, n int) error {
	if !time.Now().Before(r.until) {
		r.busy = r.callers(ctx)
		r.until = time.Now().Add(lookEvery)
	}
	if !r.busy {
		return ctx.Err()
	}
	return r.slow.WaitN(ctx, min(n, atOnce))
}

// callers reports whether somebody else needs Redis, or nothing is known of that.
func (r *restraint) callers(ctx context.Context) bool {
	for range looks {
		share, err := r.others(ctx)
		if err != nil {
			return true
		}
		if share <= busyShare {
			return false
		}
	}
	return true
}

// others is the share of a core that the busiest server takes while it is asked nothing from here.
func (r *restraint) others(ctx context.Context) (share float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	before, err := r.used(ctx)
	if err != nil {
		return 0, err
	}
	if err := sleep(ctx, lookFor); err != nil {
		return 0, err
	}
	after, err := r.used(ctx)
	for server, seconds := range after {
		if was, known := before[server]; known {
			share = max(share, (seconds-was)/time.Since(began).Seconds())
		}
	}
	return share, err
}

// used is the processor time of each server, in seconds.
func (r *restraint) used(ctx context.Context) (map[string]float64, error) {
	used := map[string]float64{}
	cluster, ok := r.redis.(*redis.ClusterClient)
	if !ok {
		text, err := r.redis.Info(ctx, "cpu").Result()
		if err == nil {
			used[""], err = processorTime(text)
		}
		return used, err
	}
	var mu sync.Mutex
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		text, err := c.Info(ctx, "cpu").Result()
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		used[c.Options().Addr], err = processorTime(text)
		return err
	})
	return used, err
}

// processorTime finds in INFO what the server itself has used.
func processorTime(info string) (seconds float64, err error) {
	found := 0
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name != "used_cpu_sys" && name != "used_cpu_user" {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("INFO cpu: %w", err)
		}
		seconds, found = seconds+v, found+1
	}
	if found < 2 {
		return 0, fmt.Errorf("INFO cpu says only %q", info)
	}
	return seconds, nil
}
