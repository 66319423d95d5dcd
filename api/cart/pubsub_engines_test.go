//go:build engines

package cart_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
)

func TestNoticesInACluster(t *testing.T) { testNotices(t, enginetest.RedisCluster(t)...) }

func TestFollowingAndLeavingInACluster(t *testing.T) { testChurn(t, enginetest.RedisCluster(t)...) }

// A slot that moves takes the subscriptions of its users along, and Redis says so only to who listens.
func TestSubscriptionsFollowASlotThatMoves(t *testing.T) {
	addrs := enginetest.RedisCluster(t)
	s := open(t, nil, addrs...)
	e := newEar()
	f := feed(t, s, e)
	const user = "u1"
	confirmed(t, f.Follow(user))

	nodes := make([]*redis.Client, len(addrs))
	ids := make([]string, len(addrs))
	ctx := t.Context()
	for i, a := range addrs {
		nodes[i] = redis.NewClient(&redis.Options{Addr: a})
		defer nodes[i].Close()
		id, err := nodes[i].Do(ctx, "CLUSTER", "MYID").Text()
		if err != nil {
			t.Fatal(err)
		}
		ids[i] = id
	}
	slot, owner := follower(t, nodes, user)
	to := (owner + 1) % len(nodes)
	for _, step := range []struct {
		node int
		args []any
	}{
		{to, []any{"CLUSTER", "SETSLOT", slot, "IMPORTING", ids[owner]}},
		{owner, []any{"CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to]}},
		{to, []any{"CLUSTER", "SETSLOT", slot, "NODE", ids[to]}},
		{owner, []any{"CLUSTER", "SETSLOT", slot, "NODE", ids[to]}},
	} {
		if err := nodes[step.node].Do(ctx, step.args...).Err(); err != nil {
			t.Fatal(step, err)
		}
	}
	e.until(t, "subscribed again", func() bool { return e.subscribed[user] > 0 })
	e.until(t, "heard", func() bool {
		_ = s.Publish(ctx, []cart.Notice{notice(user, "1")})
		return len(e.heard[user]) > 0
	})
}

// follower returns the slot of the user's channel and the node that has its subscription.
func follower(t *testing.T, nodes []*redis.Client, user string) (slot int64, at int) {
	t.Helper()
	for i, n := range nodes {
		channels, err := n.PubSubShardChannels(t.Context(), "*:live:"+user).Result()
		if err != nil {
			t.Fatal(err)
		}
		if len(channels) == 1 {
			slot, err := n.ClusterKeySlot(t.Context(), channels[0]).Result()
			if err != nil {
				t.Fatal(err)
			}
			return slot, i
		}
	}
	t.Fatal("nobody is subscribed to ", user)
	return 0, 0
}

func TestADeadMasterHoldsUpOnlyItsOwnUsers(t *testing.T) {
	servers := enginetest.RedisClusterServers(t)
	addrs := make([]string, len(servers))
	for i, s := range servers {
		addrs[i] = s.Addr
	}
	s := open(t, nil, addrs...)
	e := newEar()
	f := feed(t, s, e)
	notices := make([]cart.Notice, 100)
	for i := range notices {
		notices[i] = notice(fmt.Sprint("u", i), "1")
		confirmed(t, f.Follow(notices[i].User))
	}
	servers[0].Freeze()
	defer servers[0].Thaw()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	began := time.Now()
	if err := s.Publish(ctx, notices); err == nil {
		t.Error("published to a dead master")
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	e.until(t, "the other masters' users", func() bool { return len(e.heard) > 50 })
}
