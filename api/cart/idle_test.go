package cart_test

import (
	"fmt"
	"testing"
	"time"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// rested is how long a cart rests in these tests before it is idle: so short that it is at once, with windows of 1 ms.
const rested = 2 * time.Millisecond

func idleSetup(t *testing.T) *cart.Store {
	t.Helper()
	s := open(t, func(o *cart.Options) { o.Shards, o.RemindAfter = 1, rested }, enginetest.Redis(t))
	raise(t, s, cart.Ready)
	return s
}

// remind waits until the shard's idle index has nothing more to look at, and returns the reminders that wait for Kafka.
func remind(t *testing.T, s *cart.Store, idle time.Duration, wantLooked int) []schemas.Reminder {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for all := 0; all < wantLooked; {
		looked, _, err := s.RemindIdle(t.Context(), 0, idle, 2)
		if err != nil {
			t.Fatal(err)
		}
		if all += looked; time.Now().After(deadline) {
			t.Fatalf("%d carts were found idle, want %d", all, wantLooked)
		}
	}
	if looked, _, err := s.RemindIdle(t.Context(), 0, idle, 2); err != nil || looked > 0 {
		t.Fatalf("%d more carts were found idle, %v", looked, err)
	}
	entries, err := cart.Backlog(t.Context(), s, "u1")
	if err != nil {
		t.Fatal(err)
	}
	var found []schemas.Reminder
	for _, e := range entries {
		if e.Topic == schemas.CartReminders {
			r, err := schemas.DecodeReminder(e.Value)
			if err != nil || e.Key != r.UserID || e.Headers[1].Value != schemas.CartVersionID(r.UserID, r.Epoch, r.Version) {
				t.Fatalf("%+v: %v", e, err)
			}
			found = append(found, r)
		}
	}
	return found
}

func do(t *testing.T, call func() (cart.Result, error)) schemas.CartChanged {
	t.Helper()
	r, err := call()
	if err != nil {
		t.Fatal(err)
	}
	return r.Change
}

func TestAnIdleCartIsRemindedOfOnceForEachChangeOfItsUser(t *testing.T) {
	s, ctx, r := idleSetup(t), t.Context(), cart.Request{User: "u1", Email: "u1@example.com"}
	first := do(t, func() (cart.Result, error) { return s.Add(ctx, r, "emma", 1) })
	got := remind(t, s, rested, 1)
	if len(got) != 1 || got[0] != (schemas.Reminder{UserID: "u1", Epoch: first.Epoch, Version: 1, IdleSince: first.OccurredAt}) {
		t.Fatalf("%+v, want one of %+v", got, first)
	}
	if err := cart.Know(ctx, s, emmaAt(2)); err != nil {
		t.Fatal(err)
	}
	if walked(t, s) != 1 {
		t.Fatal("the walk changed nothing")
	}
	if got := remind(t, s, rested, 0); len(got) != 1 {
		t.Fatalf("a book's change is no change of the user's: %+v", got)
	}
	do(t, func() (cart.Result, error) { return s.Set(ctx, r, "emma", 1) }) // a no-op
	if got := remind(t, s, rested, 0); len(got) != 1 {
		t.Fatalf("what changes nothing is no change: %+v", got)
	}
	again := do(t, func() (cart.Result, error) { return s.Set(ctx, r, "emma", 3) })
	if err := cart.Know(ctx, s, emmaAt(3)); err != nil {
		t.Fatal(err)
	}
	if walked(t, s) != 1 {
		t.Fatal("the walk changed nothing")
	}
	got = remind(t, s, rested, 1)
	if len(got) != 2 || got[1] != (schemas.Reminder{UserID: "u1", Epoch: again.Epoch, Version: again.Version, IdleSince: again.OccurredAt}) {
		t.Fatalf("%+v, want one more, of %+v, whatever the book did since", got, again)
	}
	c, err := s.Contact(ctx, "u1")
	if err != nil || c.Epoch != again.Epoch || c.Version != again.Version || c.At != again.OccurredAt || c.Email != "u1@example.com" ||
		c.Cart.Version != again.Version+1 || c.Cart.Items[0].UnitPrice != 1003 {
		t.Fatalf("%+v, %v", c, err)
	}
}

func TestACartIsNotRemindedOf(t *testing.T) {
	for claim, c := range map[string]struct {
		before func(t *testing.T, s *cart.Store)
		idle   time.Duration
		looked int
	}{
		"while it is empty": {func(t *testing.T, s *cart.Store) {
			do(t, func() (cart.Result, error) { return s.Add(t.Context(), cart.Request{User: "u1"}, "emma", 1) })
			do(t, func() (cart.Result, error) { return s.Clear(t.Context(), cart.Request{User: "u1"}) })
		}, rested, 1},
		"before it was idle for long enough": {func(t *testing.T, s *cart.Store) {
			do(t, func() (cart.Result, error) { return s.Add(t.Context(), cart.Request{User: "u1"}, "emma", 1) })
		}, time.Hour, 0},
	} {
		t.Run(claim, func(t *testing.T) {
			s := idleSetup(t)
			c.before(t, s)
			if got := remind(t, s, c.idle, c.looked); len(got) > 0 {
				t.Fatalf("%+v", got)
			}
		})
	}
}

func TestReminderFindsEachOfManyOnce(t *testing.T) {
	s := idleSetup(t)
	const users = 25
	for u := range users {
		do(t, func() (cart.Result, error) {
			return s.Add(t.Context(), cart.Request{User: fmt.Sprint("u", u)}, "emma", 1)
		})
	}
	seen := map[string]bool{}
	for _, r := range remind(t, s, rested, users) {
		if seen[r.UserID] {
			t.Errorf("two reminders of %s", r.UserID)
		}
		seen[r.UserID] = true
	}
	if len(seen) != users {
		t.Errorf("reminders of %d carts, want %d", len(seen), users)
	}
}

func TestARestoredCartIsIdleSinceItsLastChange(t *testing.T) {
	s := open(t, func(o *cart.Options) { o.Shards, o.RemindAfter = 1, rested }, enginetest.Redis(t))
	g := raise(t, s, cart.Lost)
	at := schemas.Milliseconds(1795341600000)
	line := schemas.Line{BookID: "emma", Title: "Emma", UnitPrice: 900, Quantity: 1, LineTotal: 900, Availability: schemas.Available}
	stored := schemas.Cart{UserID: "u1", Epoch: 1, Version: 5, Currency: "EUR", Items: []schemas.Line{line},
		Totals: schemas.Sum([]schemas.Line{line}), UpdatedAt: &at}
	for _, c := range []schemas.Cart{stored, {UserID: "u2"}} {
		if err := s.PutBack(t.Context(), g, c); err != nil {
			t.Fatal(err)
		}
	}
	got := remind(t, s, rested, 1)
	if len(got) != 1 || got[0] != (schemas.Reminder{UserID: "u1", Epoch: 1, Version: 5, IdleSince: at}) {
		t.Fatalf("%+v", got)
	}
	if v, err := s.Get(t.Context(), "u1"); err != nil || v.Version != 5 {
		t.Fatalf("%+v, %v: a reminder is no change", v, err)
	}
}

func TestTheNewestAddressStands(t *testing.T) {
	s, ctx := idleSetup(t), t.Context()
	add := func(r cart.Request) error { _, err := s.Add(ctx, r, "emma", 1); return err }
	clearing := func(r cart.Request) error { _, err := s.Clear(ctx, r); return err }
	for i, step := range []struct {
		change      func(cart.Request) error
		email, want string
	}{
		{add, "", ""}, {add, "one@example.com", "one@example.com"}, {add, "one@example.com", "one@example.com"},
		{add, "", "one@example.com"}, {add, "two@example.com", "two@example.com"},
		{clearing, "two@example.com", "two@example.com"}, {add, "one@example.com", "one@example.com"},
		{clearing, "two@example.com", "two@example.com"},
	} {
		if err := step.change(cart.Request{User: "u1", Email: step.email}); err != nil {
			t.Fatal(err)
		}
		if c, err := s.Contact(ctx, "u1"); err != nil || c.Email != step.want {
			t.Fatalf("after step %d it is %q (%v), want %q", i, c.Email, err, step.want)
		}
	}
}
