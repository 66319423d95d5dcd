package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"cartstream/api/cart"
)

func TestAFreshDeploymentOpens(t *testing.T) {
	e := setup(t)
	s := e.open(t, 8)
	e.run(t, s, "one")
	eventually(t, "a new user's cart", served(s, "u1", 0))
	eventually(t, "every shard", func() error {
		look(t, s)
		if ready, recovering := s.Count(); ready != 8 || recovering != 0 {
			return fmt.Errorf("%d ready, %d recovering", ready, recovering)
		}
		return nil
	})
}

func TestTwoInstancesAtOnceOpenOneGeneration(t *testing.T) {
	e := setup(t)
	one, two := e.open(t, 8), e.open(t, 8)
	e.run(t, one, "one")
	e.run(t, two, "two")
	for _, s := range []*cart.Store{one, two} {
		eventually(t, "a new user's cart", served(s, "u1", 0))
	}
	a, err := one.Get(t.Context(), "u1")
	if err != nil {
		t.Fatal(err)
	}
	b, err := two.Get(t.Context(), "u1")
	if err != nil || a.Generation != b.Generation {
		t.Fatalf("generations %d and %d (%v)", a.Generation, b.Generation, err)
	}
}

func TestAnEpochInMongoDBIsNeverReached(t *testing.T) {
	e := setup(t)
	e.create(t)
	future := time.Now().Add(24 * time.Hour).UnixMilli() // a clock that went back since
	e.keep(t, "u1", future, 3)
	s := e.open(t, 8)
	e.run(t, s, "one")
	eventually(t, "the stored cart", served(s, "u1", 3))
	if v, err := s.Get(t.Context(), "u1"); err != nil || v.Generation <= future || v.Epoch != future {
		t.Fatalf("epoch %d under generation %d (%v), want %d under a higher one", v.Epoch, v.Generation, err, future)
	}
}

func TestALossIsSeenAgainAndAgain(t *testing.T) {
	e := setup(t)
	e.create(t)
	for i := range 20 {
		e.keep(t, fmt.Sprintf("u%d", i), 7, 3)
	}
	s := e.open(t, 8)
	e.run(t, s, "one")
	var generation int64
	for range 3 {
		for i := range 20 {
			eventually(t, "a stored cart", served(s, fmt.Sprintf("u%d", i), 3))
		}
		v, err := s.Get(t.Context(), "u1")
		if err != nil || v.Generation <= generation {
			t.Fatalf("generation %d after %d (%v)", v.Generation, generation, err)
		}
		generation = v.Generation
		e.loses(t)
	}
}

func TestAnotherNumberOfShardsIsRefused(t *testing.T) {
	for claim, c := range map[string][2]int{"more": {8, 16}, "fewer": {16, 8}, "one": {8, 1}, "no divisor": {96, 128}} {
		t.Run(claim, func(t *testing.T) {
			e := setup(t)
			s := e.open(t, c[0])
			e.run(t, s, "one")
			eventually(t, "a new user's cart", served(s, "u1", 0))
			other := e.open(t, c[1])
			if _, err := other.Get(t.Context(), "u1"); !errors.Is(err, cart.ErrShards) {
				t.Errorf("reading with %d shards: %v, want ErrShards", c[1], err)
			}
			_, ended := e.run(t, other, "two")
			select {
			case err := <-ended:
				if !errors.Is(err, cart.ErrShards) {
					t.Fatalf("%v, want ErrShards", err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("it goes on")
			}
		})
	}
}

// turns counts how often an answer is waited for after something was asked.
type turns struct {
	net.Conn
	asked atomic.Bool
	n     *atomic.Int64
}

func (c *turns) Write(p []byte) (int, error) {
	c.asked.Store(true)
	return c.Conn.Write(p)
}

func (c *turns) Read(p []byte) (int, error) {
	if c.asked.Swap(false) {
		c.n.Add(1)
	}
	return c.Conn.Read(p)
}

func TestTheNumberOfShardsCostsNoRoundTrips(t *testing.T) {
	e := setup(t)
	e.create(t)
	var n atomic.Int64
	s := e.openThrough(t, 1024, func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return &turns{Conn: conn, n: &n}, err
	})
	e.run(t, s, "one")
	eventually(t, "all shards", func() error {
		if _, recovering := s.Count(); recovering > 0 {
			return fmt.Errorf("%d are recovering", recovering)
		}
		return nil
	})
	t.Logf("%d round trips", n.Load())
	if n.Load() > 256 {
		t.Errorf("%d round trips to open 1024 shards", n.Load())
	}
}
