package cart_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

func TestAnOperatorSeesWhatWaitsInTheOutboxesAndWhoRelaysThem(t *testing.T) {
	s, ctx := setup(t), t.Context()
	before := time.Now()
	for _, book := range []string{"emma", "faust"} {
		if _, err := s.Add(ctx, cart.Request{User: "u1"}, book, 1); err != nil {
			t.Fatal(err)
		}
	}
	own := make([]schemas.ShardWish, s.Shards())
	own[s.ShardOf("u1")].Lease = true
	beat(t, s, "one", time.Minute, own)

	reports := s.Outboxes(ctx)
	if len(reports) != len(own) {
		t.Fatalf("%d reports", len(reports))
	}
	for shard, r := range reports {
		if r.Shard != shard || r.Err != nil {
			t.Fatalf("report %d: %+v", shard, r)
		}
		if shard != s.ShardOf("u1") {
			if r != (cart.OutboxReport{Shard: shard}) {
				t.Errorf("an idle shard: %+v", r)
			}
			continue
		}
		if r.Pending != 2 || r.Owner != "one" || r.Oldest.Before(schemas.At(before).Time) || r.Oldest.After(time.Now()) {
			t.Errorf("the busy shard: %+v, the first change was after %v", r, before)
		}
	}
}

func TestAnOperatorSeesTheStateOfEveryShard(t *testing.T) {
	server := enginetest.EmbeddedRedis(t)
	s, ctx := open(t, nil, server.Addr), t.Context()
	for _, r := range s.Generations(ctx) {
		if r.Err != nil || r.State != cart.Absent || r.Known {
			t.Fatalf("a Redis that never was used: %+v", r)
		}
	}
	g := raise(t, s, cart.Lost)
	for _, r := range s.Generations(ctx) {
		if r.Err != nil || r.State != cart.Lost || r.Generation != g || !r.Known {
			t.Fatalf("lost shards: %+v", r)
		}
	}
	for _, n := range s.Nodes(ctx) {
		if err := errors.Join(n.Restored(ctx, 3, g, 7), n.Restored(ctx, 4, cart.NewGeneration(g.Number), 9), n.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range s.Generations(ctx) {
		if want := map[int]int64{3: 7}[r.Shard]; r.Restored != want { // what is of another generation doesn't count
			t.Errorf("shard %d: %d carts are back, want %d", r.Shard, r.Restored, want)
		}
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer client.Close()
	if err := client.ScriptFlush(ctx).Err(); err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Generations(ctx) {
		if r.Err != nil || r.State != cart.Lost || r.Known {
			t.Fatalf("a server without scripts: %+v", r)
		}
	}
	server.Stop()
	for shard, r := range s.Generations(ctx) {
		if r.Err == nil || r.Shard != shard {
			t.Fatalf("a server that is away: %+v", r)
		}
	}
	for shard, r := range s.Outboxes(ctx) {
		if r.Err == nil || r.Shard != shard {
			t.Fatalf("a server that is away: %+v", r)
		}
	}
}
