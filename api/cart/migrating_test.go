//go:build engines

package cart_test

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// moving begins to move the slot of a user's shard to another master, and moves those of its keys that end so.
func moving(t *testing.T, addrs []string, user string, suffixes ...string) {
	t.Helper()
	ctx := context.Background()
	var from, to *redis.Client
	var tag, target string
	for _, addr := range addrs {
		c := redis.NewClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { _ = c.Close() })
		keys, err := c.Keys(ctx, "*:c:"+user).Result()
		if err != nil {
			t.Fatal(err)
		}
		if len(keys) == 1 {
			from, tag = c, strings.TrimSuffix(keys[0], ":c:"+user)
		} else {
			to, target = c, addr
		}
	}
	slot, err := from.ClusterKeySlot(ctx, tag).Result()
	if err != nil {
		t.Fatal(err)
	}
	setSlot := func(c *redis.Client, state string, other *redis.Client) {
		id, err := other.Do(ctx, "CLUSTER", "MYID").Text()
		if err == nil {
			err = c.Do(ctx, "CLUSTER", "SETSLOT", slot, state, id).Err()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	setSlot(to, "IMPORTING", from)
	setSlot(from, "MIGRATING", to)
	host, port, _ := net.SplitHostPort(target)
	for _, suffix := range suffixes {
		if err := from.Migrate(ctx, host, port, tag+suffix, 0, 5*time.Second).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAMutationWhileItsSlotMovesIsWholeOrNotAtAll(t *testing.T) {
	for claim, c := range map[string]struct {
		moved   []string
		change  func(context.Context, *cart.Store, cart.Request) error
		version int64 // afterwards
	}{
		"remove, of a book that nobody else holds": {nil,
			func(ctx context.Context, s *cart.Store, r cart.Request) error {
				_, err := s.Remove(ctx, r, "emma")
				return err
			}, 3},
		"clear, of books that nobody else holds": {nil,
			func(ctx context.Context, s *cart.Store, r cart.Request) error { _, err := s.Clear(ctx, r); return err }, 3},
		"clear, when a book's users have moved": {[]string{":u:faust"},
			func(ctx context.Context, s *cart.Store, r cart.Request) error { _, err := s.Clear(ctx, r); return err }, 2},
		"clear, when a book's facts have moved": {[]string{":f:faust"},
			func(ctx context.Context, s *cart.Store, r cart.Request) error { _, err := s.Clear(ctx, r); return err }, 2},
	} {
		t.Run(claim, func(t *testing.T) {
			addrs := enginetest.RedisCluster(t)
			s := open(t, nil, addrs...)
			raise(t, s, cart.Ready)
			r := cart.Request{User: "u1"}
			for _, book := range []string{"emma", "faust"} {
				if _, err := s.Add(t.Context(), r, book, 2); err != nil {
					t.Fatal(err)
				}
			}
			moving(t, addrs, "u1", c.moved...)
			if err := c.change(t.Context(), s, r); (err == nil) != (c.version == 3) {
				t.Errorf("the change: %v", err)
			}
			v, err := s.Get(t.Context(), "u1")
			if err != nil {
				t.Fatal(err)
			}
			if v.Version != c.version || v.Totals != schemas.Sum(v.Items) {
				t.Errorf("version %s with %d lines and %+v, want version %d and the sum of the lines",
					strconv.FormatInt(v.Version, 10), len(v.Items), v.Totals, c.version)
			}
		})
	}
}
