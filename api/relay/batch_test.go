package relay

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/schemas"
)

func TestPartitionsAreThoseOfKafkasDefaultPartitioner(t *testing.T) {
	reference := kgo.StickyKeyPartitioner(nil).ForTopic(schemas.CartEvents)
	for i := range 1000 {
		r := &kgo.Record{Key: fmt.Appendf(nil, "user-%d@example.org", i*7919)}
		for _, n := range []int{1, 3, 16, 64} {
			if got, want := schemas.Partition(string(r.Key), n), reference.Partition(r, n); got != want {
				t.Fatalf("%s of %d: %d, want %d", r.Key, n, got, want)
			}
		}
	}
}

func TestAShardMovesOnlyToOrFromWhoeverJoinsOrLeaves(t *testing.T) {
	before, after := []string{"a", "b", "c"}, []string{"a", "b", "c", "d"}
	count := map[string]int{}
	for shard := range 128 {
		was, is := owner(shard, before, "a"), owner(shard, after, "a")
		if was != is && is != "d" {
			t.Errorf("shard %d moved from %s to %s when d joined", shard, was, is)
		}
		if same := owner(shard, after, "d"); same != is {
			t.Errorf("shard %d belongs to %s by a, to %s by d", shard, is, same)
		}
		count[is]++
	}
	for _, m := range after {
		if count[m] < 20 || count[m] > 45 {
			t.Errorf("%s has %d of 128", m, count[m])
		}
	}
}
