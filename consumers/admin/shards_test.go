package admin_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"cartstream/api/cart"
	"cartstream/consumers/admin"
)

var errSilent = errors.New("no answer")

type shards struct {
	outboxes    []cart.OutboxReport
	generations []cart.ShardReport
}

func (s shards) Outboxes(context.Context) []cart.OutboxReport   { return s.outboxes }
func (s shards) Generations(context.Context) []cart.ShardReport { return s.generations }

// trouble is four shards of which one is idle, one busy, one without an owner and one silent.
func trouble() shards {
	g := cart.Generation{Number: 1_790_000_000_000, Nonce: "n"}
	return shards{
		[]cart.OutboxReport{
			{Shard: 0, Owner: "api-1"},
			{Shard: 1, Owner: "api-2", Pending: 3, Oldest: time.Now().Add(-2 * time.Second)},
			{Shard: 2, Pending: 4, Oldest: time.Now().Add(-time.Minute)},
			{Shard: 3, Err: errSilent},
		},
		[]cart.ShardReport{
			{Shard: 0, Generation: g, State: cart.Ready, Known: true},
			{Shard: 1, Generation: g, State: cart.Lost, Known: true, Restored: 42},
			{Shard: 2, Generation: g, State: cart.Ready},
			{Shard: 3, Err: errSilent},
			{Shard: 4, State: cart.Absent},
			{Shard: 5, Generation: g, State: cart.Raising, Known: true},
		},
	}
}

type outbox struct {
	Pending, OldestAgeMs int64
	Shards               []struct {
		Shard   int
		Pending *int64
		Owner   *string
	}
}

func TestTheOutboxShowsEveryShard(t *testing.T) {
	o := serve(t, admin.ShardRoutes(trouble())...)
	got := decode[outbox](t, o.call(t, "GET", "/admin/outbox", ""), 200)
	if got.Pending != 7 || got.OldestAgeMs < 60_000 || got.OldestAgeMs > 120_000 || len(got.Shards) != 4 {
		t.Fatalf("got %+v", got)
	}
	for i, want := range []struct {
		pending int64
		owner   string
	}{{0, "api-1"}, {3, "api-2"}, {4, ""}} {
		s := got.Shards[i]
		if s.Shard != i || s.Pending == nil || *s.Pending != want.pending || s.Owner == nil || *s.Owner != want.owner {
			t.Errorf("shard %d: %+v", i, s)
		}
	}
	if s := got.Shards[3]; s.Shard != 3 || s.Pending != nil || s.Owner != nil {
		t.Errorf("a shard that can't be asked: %+v", s)
	}
}

func TestAnOutboxWithoutRedisIsUnavailable(t *testing.T) {
	o := serve(t, admin.ShardRoutes(shards{outboxes: []cart.OutboxReport{{Err: errSilent}, {Shard: 1, Err: errSilent}}})...)
	refused(t, o.call(t, "GET", "/admin/outbox", ""), 503, "unavailable")
}

func TestRecoveryShowsEveryShard(t *testing.T) {
	o := serve(t, admin.ShardRoutes(trouble())...)
	got := decode[struct {
		Shards []struct {
			Shard      int
			State      string
			Generation *int64
			Since      *time.Time
			Carts      *int64
		}
	}](t, o.call(t, "GET", "/admin/recovery", ""), 200)
	for i, state := range []string{"ready", "restoring", "recovering", "unknown", "recovering", "recovering"} {
		s := got.Shards[i]
		known := i != 3 && i != 4
		if s.Shard != i || s.State != state || (s.Generation != nil) != known || (s.Since != nil) != known || (s.Carts != nil) != known {
			t.Errorf("shard %d: %+v, want it %s", i, s, state)
		}
	}
	if *got.Shards[0].Carts != 0 || *got.Shards[1].Carts != 42 {
		t.Errorf("%d and %d carts are back", *got.Shards[0].Carts, *got.Shards[1].Carts)
	}
	if s := got.Shards[0]; *s.Generation != 1_790_000_000_000 || s.Since.UnixMilli() != 1_790_000_000_000 {
		t.Errorf("shard 0: %+v", s)
	}
}

// gathered are the gauges of a collector, by name and label.
func gathered(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			values[name] = m.GetGauge().GetValue()
		}
	}
	return values
}

func TestTheShardsAreMetrics(t *testing.T) {
	got := gathered(t, admin.Watch(trouble()))
	if age := got["cartstream_outbox_oldest_age_seconds"]; age < 60 || age > 120 {
		t.Errorf("the oldest is %v s old", age)
	}
	for name, want := range map[string]float64{
		"cartstream_outbox_pending": 7, "cartstream_shards ready": 1, "cartstream_shards restoring": 1,
		"cartstream_shards recovering": 3, "cartstream_shards unknown": 1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	silent := gathered(t, admin.Watch(shards{[]cart.OutboxReport{{Err: errSilent}}, []cart.ShardReport{{Err: errSilent}}}))
	if _, told := silent["cartstream_outbox_pending"]; told || silent["cartstream_shards unknown"] != 1 {
		t.Errorf("without Redis: %v", silent)
	}
}
