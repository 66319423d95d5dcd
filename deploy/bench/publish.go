package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// channels are users' sockets at the bare handlers, and what publishes to them.
type channels struct {
	client *redis.Client
	users  []caller
	conns  []*websocket.Conn

	mu   sync.Mutex
	sent []time.Time
	all  []time.Duration
}

// openChannels opens the users' sockets at addr.
func openChannels(ctx context.Context, redisAddr, addr string, users []caller) (*channels, error) {
	c := &channels{client: redis.NewClient(&redis.Options{Addr: redisAddr}), users: users, conns: make([]*websocket.Conn, len(users))}
	g, opening := errgroup.WithContext(ctx)
	g.SetLimit(senders)
	for i, u := range users {
		g.Go(func() error {
			conn, _, err := websocket.Dial(opening, "ws://"+addr+"/v1/cart/live", &websocket.DialOptions{HTTPHeader: http.Header{"X-User": {u.id}}})
			if err != nil {
				return fmt.Errorf("open the bare socket of %s: %w", u.id, err)
			}
			c.conns[i] = conn
			_, _, err = conn.Read(opening)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		c.close()
		return nil, err
	}
	for _, conn := range c.conns {
		go c.receive(ctx, conn)
	}
	return c, nil
}

func (c *channels) close() {
	for _, conn := range c.conns {
		if conn != nil {
			_ = conn.CloseNow()
		}
	}
	_ = c.client.Close()
}

func (c *channels) receive(ctx context.Context, conn *websocket.Conn) {
	for {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			return // closed; what is missing is counted
		}
		now := time.Now()
		i, _ := strconv.Atoi(string(frame[:8]))
		c.mu.Lock()
		c.all = append(c.all, now.Sub(c.sent[i]))
		c.mu.Unlock()
	}
}

// turn publishes n messages and waits until the sockets have them.
func (c *channels) turn(ctx context.Context, n int) (delays, error) {
	c.mu.Lock()
	c.sent, c.all = make([]time.Time, n), nil
	c.mu.Unlock()
	elapsed, err := pace(ctx, senders, perSecond, n, func(ctx context.Context, _, i int) error {
		payload := fmt.Sprintf("%08d%392d", i, 0)
		c.mu.Lock()
		c.sent[i] = time.Now()
		c.mu.Unlock()
		return c.client.SPublish(ctx, "bench:"+c.users[i%len(c.users)].id, payload).Err()
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
