package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// channels are plain pub/sub on the same Redis.
type channels struct {
	client *redis.Client
	sub    *redis.PubSub

	mu   sync.Mutex
	sent []time.Time
	all  []time.Duration
}

func channel(i int) string { return "bench:" + strconv.Itoa(i) }

func subscribe(ctx context.Context, addr string) (*channels, error) {
	c := &channels{client: redis.NewClient(&redis.Options{Addr: addr})}
	names := make([]string, sockets)
	for i := range names {
		names[i] = channel(i)
	}
	c.sub = c.client.Subscribe(ctx, names...)
	for range names {
		if _, err := c.sub.Receive(ctx); err != nil {
			c.close()
			return nil, fmt.Errorf("subscribe: %w", err)
		}
	}
	go c.receive(ctx)
	return c, nil
}

func (c *channels) close() {
	_ = c.sub.Close()
	_ = c.client.Close()
}

func (c *channels) receive(ctx context.Context) {
	for {
		m, err := c.sub.ReceiveMessage(ctx)
		if err != nil {
			return // closed; what is missing is counted
		}
		now := time.Now()
		i, _ := strconv.Atoi(m.Payload[:8])
		c.mu.Lock()
		c.all = append(c.all, now.Sub(c.sent[i]))
		c.mu.Unlock()
	}
}

// turn publishes n messages and waits until they are received.
func (c *channels) turn(ctx context.Context, n int) (delays, error) {
	c.mu.Lock()
	c.sent, c.all = make([]time.Time, n), nil
	c.mu.Unlock()
	elapsed, err := pace(ctx, senders, perSecond, n, func(ctx context.Context, _, i int) error {
		payload := fmt.Sprintf("%08d%392d", i, 0)
		c.mu.Lock()
		c.sent[i] = time.Now()
		c.mu.Unlock()
		return c.client.Publish(ctx, channel(i%sockets), payload).Err()
	})
	if err != nil {
		return delays{}, err
	}
	received := func() int {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.all)
	}
	for until := time.Now().Add(lateAfter); received() < n && time.Now().Before(until); {
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return delays{}, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.all)
	return delays{n, elapsed, slices.Clone(c.all)}, nil
}
