//go:build engines

package cart_test

import (
	"testing"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
)

func TestADeadMasterHidesItsOwnShardsAlone(t *testing.T) {
	masters := enginetest.RedisClusterServers(t)
	addrs := make([]string, len(masters))
	for i, m := range masters {
		addrs[i] = m.Addr
	}
	s := open(t, nil, addrs...)
	raise(t, s, cart.Ready)
	masters[0].Kill()
	hidden := map[int]bool{}
	for _, r := range s.Generations(t.Context()) {
		hidden[r.Shard] = r.Err != nil
		if r.Err == nil && (r.State != cart.Ready || !r.Known) {
			t.Errorf("a shard of a master that is there: %+v", r)
		}
	}
	n := 0
	for _, r := range s.Outboxes(t.Context()) {
		if hidden[r.Shard] != (r.Err != nil) {
			t.Errorf("shard %d: %v, though its generation is hidden: %v", r.Shard, r.Err, hidden[r.Shard])
		}
		if r.Err != nil {
			n++
		}
	}
	if n < 4 || n > 7 {
		t.Errorf("%d of 16 shards are hidden by one of three masters", n)
	}
}
