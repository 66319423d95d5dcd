package cart_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// refused asserts that a mutation and a read are turned away by a shard that is recovering, without a trace.
func refused(t *testing.T, s *cart.Store, user string) {
	t.Helper()
	_, err := s.Add(t.Context(), cart.Request{User: user}, "emma", 1)
	var u *cart.Unavailable
	if !errors.As(err, &u) || u.Applied != cart.NotApplied || !u.Recovering || u.RetryAfter <= 0 || !errors.Is(err, schemas.ErrUnavailable) {
		t.Fatalf("add: %v, want unavailable, recovering and not applied", err)
	}
	if _, err := s.Get(t.Context(), user); !errors.As(err, &u) || !u.Recovering {
		t.Fatalf("get: %v, want unavailable and recovering", err)
	}
	select {
	case <-s.NeedsRecovery():
	default:
		t.Fatal("recovery was not told")
	}
}

func TestOnlyAServerThatRemembersIsServed(t *testing.T) {
	for claim, forget := range map[string]func(context.Context, *redis.Client) error{
		"a server that forgot its scripts": func(ctx context.Context, c *redis.Client) error { return c.ScriptFlush(ctx).Err() },
		"a server that lost all data":      func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() },
		"a server that lost data and memory": func(ctx context.Context, c *redis.Client) error {
			return errors.Join(c.FlushAll(ctx).Err(), c.ScriptFlush(ctx).Err())
		},
	} {
		t.Run(claim, func(t *testing.T) {
			addr := enginetest.Redis(t)
			s := open(t, nil, addr)
			raise(t, s, cart.Ready)
			before, err := s.Add(t.Context(), cart.Request{User: "u1"}, "emma", 1)
			if err != nil {
				t.Fatal(err)
			}
			client := redis.NewClient(&redis.Options{Addr: addr})
			defer client.Close()
			if err := forget(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			refused(t, s, "u1")
			g := raise(t, s, cart.Ready)
			after, err := s.Add(t.Context(), cart.Request{User: "u1"}, "emma", 1)
			if err != nil {
				t.Fatal(err)
			}
			if c := after.Change; !c.Whole || c.Epoch != g.Number || c.Epoch <= before.Change.Epoch {
				t.Fatalf("the first change after it is %+v, want the whole cart under a higher epoch than %d", c, before.Change.Epoch)
			}
		})
	}
}

func TestNothingIsServedBeforeRecoveryOpensIt(t *testing.T) {
	s := open(t, nil, enginetest.Redis(t))
	refused(t, s, "u1")
	raise(t, s, cart.Raising)
	refused(t, s, "u1")
	raise(t, s, cart.Ready)
	if _, err := s.Add(t.Context(), cart.Request{User: "u1"}, "emma", 1); err != nil {
		t.Fatal(err)
	}
}

func TestAProcessThatMissedANewGenerationFollowsIt(t *testing.T) {
	addr := enginetest.Redis(t)
	one, two := open(t, nil, addr), open(t, nil, addr)
	raise(t, one, cart.Ready)
	for _, s := range []*cart.Store{one, two} { // two loads nothing: the scripts are there
		if _, err := s.Add(t.Context(), cart.Request{User: "u1"}, "emma", 1); err != nil {
			t.Fatal(err)
		}
	}
	g := raise(t, one, cart.Ready)
	r, err := two.Add(t.Context(), cart.Request{User: "u1"}, "emma", 1)
	if err != nil || r.Change.Epoch != g.Number || r.Change.Version != 3 {
		t.Fatalf("%+v, %v; want version 3 under epoch %d", r.Change, err, g.Number)
	}
}

func TestARecoveryThatWasOvertakenChangesNothing(t *testing.T) {
	s := open(t, nil, enginetest.Redis(t))
	n := s.Nodes(t.Context())[0]
	defer n.Close()
	slow := cart.NewGeneration(time.Now().UnixMilli())
	if err := n.Swap(t.Context(), slow, cart.Raising, cart.ShardReport{}); err != nil {
		t.Fatal(err)
	}
	raise(t, s, cart.Ready) // another one was faster
	if err := n.Swap(t.Context(), slow, cart.Ready, cart.ShardReport{Generation: slow, State: cart.Raising}); !errors.Is(err, cart.ErrOvertaken) {
		t.Fatalf("opening what another recovery opened: %v, want ErrOvertaken", err)
	}
}

// restorer brings back carts from a map.
type restorer struct {
	store *cart.Store
	mu    sync.Mutex
	carts map[string]schemas.Cart
	away  error
	asked int
}

func (r *restorer) Restore(ctx context.Context, user string, g cart.Generation) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	if r.away != nil {
		return r.away
	}
	c, ok := r.carts[user]
	if !ok {
		c = schemas.Cart{UserID: user}
	}
	return r.store.PutBack(ctx, g, c)
}

func stored(user string) schemas.Cart {
	at, seen := schemas.Milliseconds(1700000000000), int64(999)
	c := schemas.Cart{UserID: user, Epoch: 7, Version: 41, Currency: "EUR", UpdatedAt: &at, Items: []schemas.Line{
		{BookID: "zadig", Title: "Zadig", UnitPrice: 700, Quantity: 2, LineTotal: 1400, Availability: schemas.Available},
		{BookID: "emma", Title: "Emma", UnitPrice: 1299, PreviousUnitPrice: &seen, Quantity: 1, LineTotal: 1299, Availability: schemas.Available},
		{BookID: "gone", Title: "Gone", UnitPrice: 500, Quantity: 3, LineTotal: 1500, Availability: schemas.Discontinued},
	}}
	c.Totals = schemas.Sum(c.Items)
	return c
}

// lost returns a Store whose shards lost everything, and who brings it back.
func lost(t *testing.T) (*cart.Store, *restorer) {
	t.Helper()
	s := open(t, nil, enginetest.Redis(t))
	r := &restorer{store: s, carts: map[string]schemas.Cart{"u1": stored("u1")}}
	s.RestoreWith(r)
	raise(t, s, cart.Lost)
	return s, r
}

func TestALostCartComesBackWhenItIsTouched(t *testing.T) {
	for claim, touch := range map[string]func(*testing.T, *cart.Store){
		"by a read": func(t *testing.T, s *cart.Store) {
			v, err := s.Get(t.Context(), "u1")
			if err != nil {
				t.Fatal(err)
			}
			if got, want := string(schemas.EncodeCart(v.Cart)), string(schemas.EncodeCart(stored("u1"))); got != want {
				t.Fatalf("got  %s\nwant %s", got, want)
			}
			if v.Shown().Epoch <= 7 {
				t.Fatalf("shown under epoch %d, want a higher one than its own", v.Shown().Epoch)
			}
		},
		"by a change, which then carries the whole cart": func(t *testing.T, s *cart.Store) {
			r, err := s.Set(t.Context(), cart.Request{User: "u1"}, "zadig", 1)
			if err != nil {
				t.Fatal(err)
			}
			if c := r.Change; !c.Whole || c.Version != 42 || len(c.Items) != 3 || c.Items[0].BookID != "zadig" || c.TotalAmount != 700+1299 || c.LineCount != 3 {
				t.Fatalf("%+v", c)
			}
		},
		"and a removal says so in it": func(t *testing.T, s *cart.Store) {
			r, err := s.Remove(t.Context(), cart.Request{User: "u1"}, "emma")
			if err != nil {
				t.Fatal(err)
			}
			if c := r.Change; !c.Whole || len(c.Items) != 3 || c.Items[1].Quantity != 0 || c.LineCount != 2 || c.TotalAmount != 1400 {
				t.Fatalf("%+v", c)
			}
		},
	} {
		t.Run(claim, func(t *testing.T) {
			s, r := lost(t)
			touch(t, s)
			if _, err := s.Get(t.Context(), "u1"); err != nil || r.asked != 1 {
				t.Fatalf("asked %d times (%v), want once", r.asked, err)
			}
		})
	}
}

func TestAUserWithoutAStoredCartIsAskedForOnce(t *testing.T) {
	s, r := lost(t)
	for range 2 {
		if v, err := s.Get(t.Context(), "new"); err != nil || v.Exists() || v.UpdatedAt != nil {
			t.Fatalf("%+v, %v", v, err)
		}
	}
	c, err := s.Add(t.Context(), cart.Request{User: "new"}, "emma", 1)
	if err != nil || c.Change.Version != 1 || !c.Change.Whole || r.asked != 1 {
		t.Fatalf("%+v, %v, asked %d times", c.Change, err, r.asked)
	}
}

func TestALostCartIsUnavailableWhileNobodyCanBringItBack(t *testing.T) {
	s, r := lost(t)
	r.away = errors.New("MongoDB is away")
	_, err := s.Add(t.Context(), cart.Request{User: "u1"}, "emma", 1)
	var u *cart.Unavailable
	if !errors.As(err, &u) || u.Applied != cart.NotApplied || !u.Recovering {
		t.Fatalf("%v, want unavailable and not applied", err)
	}
	r.away = nil
	if v, err := s.Get(t.Context(), "u1"); err != nil || v.Version != 41 {
		t.Fatalf("%+v, %v", v, err)
	}
}

func TestASeenPriceIsAcknowledged(t *testing.T) {
	for claim, c := range map[string]struct {
		known    *schemas.Book
		price    int64
		previous int64 // 0: none
		amount   int64
	}{
		"and its previous price goes":                {nil, 1299, 0, 1400 + 1299},
		"but a newer one is shown with the seen one": {&schemas.Book{BookID: "emma", Title: "Emma", UnitPrice: 1500, Status: schemas.Available, Version: 9}, 1500, 1299, 1400 + 1500},
		"and a title that changed comes with it":     {&schemas.Book{BookID: "emma", Title: "Emma!", UnitPrice: 1299, Status: schemas.OutOfStock, Version: 9}, 1299, 0, 1400},
	} {
		t.Run(claim, func(t *testing.T) {
			s, _ := lost(t)
			if c.known != nil {
				if err := cart.Know(t.Context(), s, *c.known); err != nil {
					t.Fatal(err)
				}
			}
			r, err := s.Acknowledge(t.Context(), cart.Request{User: "u1"}, "emma")
			if err != nil {
				t.Fatal(err)
			}
			line := r.Change.Items[1]
			var previous int64
			if line.PreviousUnitPrice != nil {
				previous = *line.PreviousUnitPrice
			}
			if line.UnitPrice != c.price || previous != c.previous || r.Change.TotalAmount != c.amount || r.Change.Type != schemas.ItemAcknowledged {
				t.Fatalf("%+v", r.Change)
			}
			if c.previous == 0 {
				again, err := s.Acknowledge(t.Context(), cart.Request{User: "u1"}, "emma")
				if err != nil || again.Change.Version != r.Change.Version || len(again.Change.Items) != 1 {
					t.Fatalf("acknowledging again: %+v, %v; want no change", again.Change, err)
				}
			}
		})
	}
}

func TestOneInstanceAtATimeLeadsANode(t *testing.T) {
	addr := enginetest.Redis(t)
	n := open(t, nil, addr).Nodes(t.Context())[0]
	defer n.Close()
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	leads := func(instance string, want bool) {
		t.Helper()
		if got, err := n.Lead(t.Context(), instance, time.Minute); err != nil || got != want {
			t.Fatalf("%s leads: %v (%v), want %v", instance, got, err, want)
		}
	}
	leads("one", true)
	leads("one", true)
	leads("two", false)
	if err := n.Release(t.Context(), "two"); err != nil { // whose lease ran out while it was paused
		t.Fatal(err)
	}
	leads("two", false)
	if err := n.Release(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	leads("two", true)
	keys, err := client.Keys(t.Context(), "*:r").Result()
	if err != nil || len(keys) != 1 {
		t.Fatalf("%v, %v", keys, err)
	}
	if left := client.PTTL(t.Context(), keys[0]).Val(); left <= 0 || left > time.Minute {
		t.Fatalf("the lease ends in %v, want a minute at most", left)
	}
}

func TestAServerThatLacksOnlyThisReleasesScriptsIsGivenThem(t *testing.T) {
	addr := enginetest.Redis(t)
	g := raise(t, open(t, nil, addr), cart.Ready)
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	if err := errors.Join(client.ScriptFlush(t.Context()).Err(), // then what another release left: its marker
		client.ScriptLoad(t.Context(), "return 'cartstream "+g.String()+"'").Err()); err != nil {
		t.Fatal(err)
	}
	r, err := open(t, nil, addr).Add(t.Context(), cart.Request{User: "u1"}, "emma", 1)
	if err != nil || r.Change.Epoch != g.Number {
		t.Fatalf("%+v, %v; want a change under epoch %d", r.Change, err, g.Number)
	}
}
