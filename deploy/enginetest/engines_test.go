//go:build engines

package enginetest_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"cartstream/deploy/enginetest"
)

func TestARealRedisKeepsItsDataOverARestart(t *testing.T) {
	s, ctx := enginetest.RealRedis(t), testContext(t)
	c := redisClient(t, s.Addr)
	check(t, c.Set(ctx, "cart", "full", 0).Err())
	s.Stop()
	s.Start()
	if got := c.Get(ctx, "cart").Val(); got != "full" {
		t.Fatalf("got %q", got)
	}
}

func TestAClusterServesEverySlotFromThreeMasters(t *testing.T) {
	ctx := testContext(t)
	addrs := enginetest.RedisCluster(t)
	c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	t.Cleanup(func() { _ = c.Close() })
	for _, key := range []string{"{a}", "{b}", "{c}", "{d}", "{e}", "{f}"} {
		check(t, c.Set(ctx, key, "x", 0).Err())
	}
	var masters atomic.Int32
	check(t, c.ForEachMaster(ctx, func(context.Context, *redis.Client) error { masters.Add(1); return nil }))
	if masters.Load() != 3 {
		t.Fatalf("%d masters", masters.Load())
	}
}
