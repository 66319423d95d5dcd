//go:build engines

package launch

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestARedisServerIsDurableAndEndsWithTheEngines(t *testing.T) {
	o := Options{Redis: true, Data: t.TempDir()}
	e := start(t, o)
	if e.RedisServer != "redis-server" {
		t.Fatalf("Redis is a %q", e.RedisServer)
	}
	ctx := context.Background()
	c := redis.NewClient(&redis.Options{Addr: e.Redis})
	for setting, want := range map[string]string{"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"} {
		if got := c.ConfigGet(ctx, setting).Val()[setting]; got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	if err := c.Set(ctx, "cart", "full", 0).Err(); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()

	e.Stop()
	e = start(t, o)
	c = redis.NewClient(&redis.Options{Addr: e.Redis})
	defer func() { _ = c.Close() }()
	if got := c.Get(ctx, "cart").Val(); got != "full" {
		t.Fatalf("after a restart the cart is %q", got)
	}
	e.Kill()
	eventually(t, "redis-server is gone", func() bool { return !listens(e.Redis) })
}
