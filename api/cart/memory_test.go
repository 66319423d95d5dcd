//go:build engines

package cart_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

func TestChangesAreRefusedBeforeRedisIsFull(t *testing.T) {
	addr := enginetest.Redis(t)
	s := open(t, nil, addr)
	raise(t, s, cart.Ready)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	client := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = client.Close() })
	until := func(what string, ok func() bool) {
		t.Helper()
		poll := time.NewTicker(20 * time.Millisecond)
		defer poll.Stop()
		for deadline := time.Now().Add(30 * time.Second); !ok(); <-poll.C {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	add := func() error {
		_, err := s.Add(t.Context(), cart.Request{User: "u1"}, "emma", 1)
		return err
	}
	if err := add(); err != nil {
		t.Fatal(err)
	}
	if err := client.ConfigSet(ctx, "maxmemory", "1mb").Err(); err != nil { // it uses more than that when empty
		t.Fatal(err)
	}
	until("changes are never refused", func() bool {
		var u *cart.Unavailable
		err := add()
		return errors.As(err, &u) && u.Applied == cart.NotApplied && errors.Is(err, schemas.ErrUnavailable)
	})
	if v, err := s.Get(ctx, "u1"); err != nil || v.Version < 1 {
		t.Errorf("a cart can't be read: %+v, %v", v, err)
	}
	until("readiness doesn't tell", func() bool {
		notice, err := s.Ping(ctx)
		return err == nil && notice != "" && notice[:6] == "memory"
	})
	if err := client.ConfigSet(ctx, "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	until("changes are refused for ever", func() bool { return add() == nil })
}
