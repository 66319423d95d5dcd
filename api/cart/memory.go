package cart

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// While Kafka is away the outboxes grow. A Redis that is full refuses what the relay needs to empty them, too, so what grows
// is refused before: below maxmemory, or below the host's memory where there is no maxmemory.

const (
	// defaultMemoryLimit is the share of a node's memory at which mutations are refused, unless Options say otherwise.
	defaultMemoryLimit = 0.9
	// memoryEase is how far the share has to fall for them to be taken again.
	memoryEase  = 0.02
	memoryEvery = time.Second
)

var errFull = errors.New("redis has no memory left for changes")

// fullNodes are the nodes that take no changes.
type fullNodes struct {
	count atomic.Int32
	nodes sync.Map // *redis.Client
}

func (f *fullNodes) has(c *redis.Client) bool {
	if f.count.Load() == 0 {
		return false
	}
	_, full := f.nodes.Load(c)
	return full
}

// set notes how full a node is, and reports whether that changes what it takes.
func (f *fullNodes) set(c *redis.Client, share, limit float64) (full, changed bool) {
	_, was := f.nodes.Load(c)
	full = share >= limit || was && share > limit-memoryEase
	if full == was {
		return full, false
	}
	if full {
		f.nodes.Store(c, struct{}{})
		f.count.Add(1)
	} else {
		f.nodes.Delete(c)
		f.count.Add(-1)
	}
	return full, true
}

// grows are the scripts that are refused where a node is full: those that append to the outbox.
func (w script) grows() bool {
	switch w {
	case scriptAdd, scriptSet, scriptRemove, scriptAcknowledge, scriptClear, scriptStep, scriptRemind, scriptAdopt:
		return true
	}
	return false
}

// watchMemory asks every node how full it is, until ctx ends.
func (s *Store) watchMemory(ctx context.Context) {
	limit := s.MemoryLimit
	if limit == 0 {
		limit = defaultMemoryLimit
	}
	tick := time.NewTicker(memoryEvery)
	defer tick.Stop()
	for {
		asking, cancel := context.WithTimeout(ctx, memoryEvery)
		s.nodes.each(asking, func(c *redis.Client) {
			share, err := memoryShare(asking, c)
			if err != nil {
				return // what is away takes nothing anyway
			}
			if full, changed := s.full.set(c, share, limit); changed {
				s.Log.WarnContext(ctx, "redis memory", "node", c.Options().Addr, "full", full, "share", share, "limit", limit)
			}
		})
		cancel()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// memoryShare returns how much of its memory the node uses; 0 where it doesn't tell.
func memoryShare(ctx context.Context, c *redis.Client) (float64, error) {
	info, err := c.Info(ctx, "memory").Result()
	var refused redis.Error
	if errors.As(err, &refused) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("ask for memory: %w", err)
	}
	found := map[string]float64{}
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			found[name] = n
		}
	}
	most := found["maxmemory"]
	if most == 0 {
		most = found["total_system_memory"]
	}
	if most == 0 {
		return 0, nil
	}
	return found["used_memory"] / most, nil
}
