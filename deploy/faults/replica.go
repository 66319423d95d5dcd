package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"cartstream/deploy/engines/engine"
)

// replicate makes the second server the replica of the first, through the replication's proxy, and waits until it has
// everything.
func (s *stack) replicate(ctx context.Context) error {
	if err := s.toReplication.lead(ctx, s.master.Addr); err != nil {
		return err
	}
	c := redis.NewClient(&redis.Options{Addr: s.replica.Addr, MaxRetries: -1})
	defer c.Close() //nolint:errcheck // only a connection
	host, port, err := net.SplitHostPort(s.toReplication.addr)
	if err != nil {
		return err
	}
	if err := c.ReplicaOf(ctx, host, port).Err(); err != nil {
		return fmt.Errorf("make %s a replica: %w", s.replica.Name, err)
	}
	return until(ctx, 30*time.Second, func(ctx context.Context) error {
		info, err := c.Info(ctx, "replication").Result()
		if err == nil && !strings.Contains(info, "master_link_status:up") {
			err = errors.New("the replica has not synced")
		}
		return err
	})
}

// alone makes a server a master.
func alone(ctx context.Context, p *engine.Process) error {
	c := redis.NewClient(&redis.Options{Addr: p.Addr, MaxRetries: -1})
	defer c.Close() //nolint:errcheck // only a connection
	if err := c.ReplicaOf(ctx, "NO", "ONE").Err(); err != nil {
		return fmt.Errorf("make %s a master: %w", p.Name, err)
	}
	return nil
}

// promote holds the replication back, ends the master and puts the replica, which lacks what was held back, in its place.
// The old master comes back as its replica.
func (st *strikes) promote() fault {
	s, lag := st.stack, st.between(200*time.Millisecond, 1200*time.Millisecond)
	return fault{promoted, fmt.Sprintf("promote a replica that is %d ms behind", lag.Milliseconds()), 0, func(ctx context.Context) error {
		if err := s.toReplication.slow(lag, 0); err != nil {
			return err
		}
		// Long enough that something was written, and is on its way.
		if err := pause(ctx, lag+300*time.Millisecond); err != nil {
			return err
		}
		return st.lose(ctx, promoted, func() { s.toReplication.cut(); s.toRedis.cut() }, func() error {
			if err := s.master.Kill(); err != nil {
				return err
			}
			s.master, s.replica = s.replica, s.master
			_ = s.redis.Close()
			s.redis = redis.NewClient(&redis.Options{Addr: s.master.Addr, MaxRetries: -1})
			return alone(ctx, s.master)
		}, func() error { return s.toRedis.lead(ctx, s.master.Addr) })
	}, func(ctx context.Context) error {
		if err := s.replica.Start(ctx); err != nil {
			return err
		}
		return s.replicate(ctx)
	}}
}
