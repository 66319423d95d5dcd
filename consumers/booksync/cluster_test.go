//go:build engines

package booksync_test

import (
	"testing"
	"time"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

func TestADeadMasterMakesNoOthersCartsWait(t *testing.T) {
	masters := enginetest.RedisClusterServers(t)
	addrs := make([]string, len(masters))
	for i, m := range masters {
		addrs[i] = m.Addr
	}
	s, all := onRedis(t, addrs...), users(100)
	servers := s.Servers(t.Context())
	if len(servers) != 3 {
		t.Fatalf("servers: %v", servers)
	}
	s.handle(s.shelf.put("b1", func(*schemas.Book) {}))
	at := map[int]bool{}
	for _, shard := range servers[masters[0].Addr] {
		at[shard] = true
	}
	var others []string
	for _, user := range all {
		_, err := s.Add(t.Context(), cart.Request{User: user}, "b1", 1)
		must(t, err)
		if !at[s.ShardOf(user)] {
			others = append(others, user)
		}
	}
	if len(others) == len(all) || len(others) == 0 {
		t.Fatalf("%d of %d users are elsewhere", len(others), len(all))
	}
	masters[0].Freeze()
	began := time.Now()
	s.handle(s.shelf.put("b1", func(b *schemas.Book) { b.UnitPrice = 1500 }))
	s.follow("b1", others)
	t.Logf("the others had it after %v", time.Since(began))
	masters[0].Thaw()
	s.follow("b1", all)
}
