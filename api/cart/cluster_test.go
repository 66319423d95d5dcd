//go:build engines

package cart_test

import (
	"testing"
	"time"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

func TestAnyHistoryOnAClusterEndsAsTheModelSays(t *testing.T) {
	anyHistory(t, wide, enginetest.RedisCluster(t)...)
}

func TestAClustersOutboxesAreReadAndTrimmedAlone(t *testing.T) {
	s := open(t, nil, enginetest.RedisCluster(t)...)
	raise(t, s, cart.Ready)
	if groups := s.ReadGroups(); len(groups) != 16 || len(groups[0]) != 1 {
		t.Fatalf("groups %v, want each shard alone", groups)
	}
	nodes := s.Nodes(t.Context())
	for _, n := range nodes {
		if got := len(n.Shards); got < 4 || got > 7 {
			t.Errorf("a master of three holds %d of 16 shards", got)
		}
		_ = n.Close()
	}
	if len(nodes) != 3 {
		t.Fatalf("%d masters, want 3", len(nodes))
	}
	for _, user := range []string{"u1", "u2", "u3", "u4", "u5"} {
		shard, entries := fill(t, s, user, 3)
		lease := beat(t, s, "one", time.Minute, wanted(s))[shard]
		trim := schemas.OutboxTrim{Shard: shard, Token: lease.Token, Generation: lease.Generation, UpTo: entries[2].ID}
		if err := s.Trim(t.Context(), []schemas.OutboxTrim{trim})[0]; err != nil {
			t.Fatal(err)
		}
		if left := backlog(t, s, user); len(left) != 0 {
			t.Fatalf("%+v is left", left)
		}
	}
}

func TestAClusterIsThereWhileOneMasterIs(t *testing.T) {
	masters := enginetest.RedisClusterServers(t)
	addrs := make([]string, len(masters))
	for i, m := range masters {
		addrs[i] = m.Addr
	}
	s := open(t, nil, addrs...)
	if notice, err := s.Ping(t.Context()); err != nil || notice != "" {
		t.Fatalf("%q, %v; want nothing to say", notice, err)
	}
	masters[0].Kill()
	if notice, err := s.Ping(t.Context()); err != nil || notice != "1 of 3 masters don't answer" {
		t.Fatalf("%q, %v", notice, err)
	}
	masters[1].Kill()
	masters[2].Kill()
	if notice, err := s.Ping(t.Context()); err == nil {
		t.Fatalf("%q, but none is there", notice)
	}
}
