package reminder_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/api/cart"
	"cartstream/consumers/reminder"
	"cartstream/consumers/runner"
	"cartstream/schemas"
	"cartstream/schemas/optout"
)

func TestAReminderIsSentOnceAndKept(t *testing.T) {
	b := setup(t, newRelay(t, rules{}))
	r := b.idle("u1", 7)
	for range 2 {
		must(t, b.handle(t, r))
	}
	if mails := b.relay.took(); len(mails) != 1 || mails[0].to != "u1@example.com" || mails[0].from != "shop@example.com" {
		t.Fatalf("%d mails: %+v", len(mails), mails)
	}
	if b.outcomes(t, "sent") != 1 || b.outcomes(t, "sent_before") != 1 {
		t.Errorf("sent %d, sent before %d", b.outcomes(t, "sent"), b.outcomes(t, "sent_before"))
	}
	var d struct {
		Epoch, Version int64
		SentAt         time.Time `bson:"sentAt"`
	}
	must(t, b.db.Collection(reminder.Collection).FindOne(t.Context(), bson.M{"_id": "u1"}).Decode(&d))
	if d.Epoch != r.Epoch || d.Version != 7 || time.Since(d.SentAt) > time.Minute {
		t.Errorf("kept %+v", d)
	}
	must(t, b.another(t, prometheus.NewRegistry()).Handle(t.Context(), batch(r)))
	if n := len(b.relay.took()); n != 1 {
		t.Errorf("%d mails after another process handled it again", n)
	}
	must(t, b.handle(t, b.idle("u1", 9)))
	if n := len(b.relay.took()); n != 2 {
		t.Errorf("%d mails after another change and another reminder", n)
	}
	must(t, b.db.Collection(reminder.Collection).FindOne(t.Context(), bson.M{"_id": "u1"}).Decode(&d))
	if d.Version != 9 {
		t.Errorf("kept %+v", d)
	}
	b.hides(t)
}

func TestWhatIsNoLongerDueIsNotSent(t *testing.T) {
	b := setup(t, newRelay(t, rules{}))
	for claim, c := range map[string]struct {
		outcome string
		change  func(*cart.Contact)
	}{
		"the user changed the cart":       {"changed", func(c *cart.Contact) { c.Version++; c.Cart.Version++ }},
		"the user changed it in an epoch": {"changed", func(c *cart.Contact) { c.Epoch++ }},
		"the cart is gone":                {"changed", func(c *cart.Contact) { *c = cart.Contact{Cart: schemas.Cart{UserID: "u1"}} }},
		"the cart is empty":               {"empty", func(c *cart.Contact) { c.Cart.Items = nil }},
		"no address is known":             {"no_address", func(c *cart.Contact) { c.Email = "" }},
	} {
		t.Run(claim, func(t *testing.T) {
			before := b.outcomes(t, c.outcome)
			r := b.idle("u1", 7)
			b.carts.change("u1", c.change)
			must(t, b.handle(t, r))
			if n := b.outcomes(t, c.outcome) - before; n != 1 {
				t.Errorf("counted %d times", n)
			}
		})
	}
	t.Run("the user opted out", func(t *testing.T) {
		must(t, optout.New(b.db).Add(t.Context(), "u1", time.Now()))
		must(t, b.handle(t, b.idle("u1", 7)))
		if b.outcomes(t, "opted_out") != 1 {
			t.Error("it isn't counted")
		}
	})
	if n := len(b.relay.took()); n != 0 {
		t.Errorf("%d mails", n)
	}
}

// A book's price changed since: the cart's version rose, its user's own last change didn't.
func TestWhatBooksDidDoesNotEndAReminder(t *testing.T) {
	b := setup(t, newRelay(t, rules{}))
	r := b.idle("u1", 7)
	b.carts.change("u1", func(c *cart.Contact) { c.Cart.Version = 12; c.Cart.Items[0].UnitPrice = 999 })
	must(t, b.handle(t, r))
	if n := len(b.relay.took()); n != 1 {
		t.Errorf("%d mails", n)
	}
}

func TestWhatIsNoLongerDueWaitsForNoRelay(t *testing.T) {
	nobody := listen(t)
	must(t, nobody.Close())
	b := setup(t, &relay{addr: nobody.Addr().String()})
	r := b.idle("u1", 7)
	again(t, b.handle(t, r))
	b.idle("u1", 8)
	must(t, b.handle(t, r))
	if b.outcomes(t, "changed") != 1 {
		t.Error("it isn't counted")
	}
}

func TestTheCartIsLookedAtLast(t *testing.T) {
	b := setup(t, newRelay(t, rules{}))
	type seen struct{ connections, tries int }
	var looks []seen
	b.carts.hook = func() { looks = append(looks, seen{b.relay.opened(), b.relay.tried()}) }
	must(t, b.handle(t, b.idle("u1", 7)))
	if !slices.Equal(looks, []seen{{1, 0}}) {
		t.Errorf("looked at %+v", looks)
	}
	b.relay.cut() // so that the idle one is no good
	must(t, b.handle(t, b.idle("u2", 7)))
	if !slices.Equal(looks, []seen{{1, 0}, {2, 1}}) {
		t.Errorf("looked at %+v", looks)
	}
}

// A relay may take long to greet.
func TestWhatIsNoLongerDueOnceTheRelayIsThereIsNotSent(t *testing.T) {
	for outcome, meanwhile := range map[string]func(context.Context, *bundle) error{
		"opted_out": func(ctx context.Context, b *bundle) error { return optout.New(b.db).Add(ctx, "u1", time.Now()) },
		"changed":   func(_ context.Context, b *bundle) error { b.idle("u1", 8); return nil },
	} {
		t.Run(outcome, func(t *testing.T) {
			t.Parallel()
			b := setup(t, newRelay(t, rules{}))
			r := b.idle("u1", 7)
			b.relay.now(rules{hello: func() error { return meanwhile(t.Context(), b) }})
			must(t, b.handle(t, r))
			if n := b.relay.tried(); n != 0 || b.outcomes(t, outcome) != 1 {
				t.Errorf("%d mails, %d counted", n, b.outcomes(t, outcome))
			}
		})
	}
}

func TestEnginesThatAreAwayAreWaitedFor(t *testing.T) {
	t.Run("Redis", func(t *testing.T) {
		b := setup(t, newRelay(t, rules{}))
		r := b.idle("u1", 7)
		b.carts.away = errors.New("connection refused")
		err := b.handle(t, r)
		again(t, err)
		if !errors.Is(err, schemas.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		b.carts.away = nil
		must(t, b.handle(t, r))
	})
	t.Run("MongoDB", func(t *testing.T) {
		b := setupStoppable(t, newRelay(t, rules{}))
		r := b.idle("u1", 7)
		b.mongodb.Stop()
		again(t, b.handle(t, r))
		if n := b.relay.tried(); n != 0 {
			t.Errorf("%d mails, and nobody knows whether they are wanted", n)
		}
		b.mongodb.Start()
		insist(t, b.mailer, r)
		if n := len(b.relay.took()); n != 1 {
			t.Errorf("%d mails", n)
		}
	})
	t.Run("MongoDB, as soon as the mail was sent: it isn't sent again", func(t *testing.T) {
		b := setupStoppable(t, newRelay(t, rules{}))
		b.relay.now(rules{data: func(string) error { b.mongodb.Stop(); return nil }})
		r := b.idle("u1", 7)
		for range 2 {
			again(t, b.handle(t, r))
		}
		b.mongodb.Start()
		insist(t, b.mailer, r)
		must(t, b.another(t, prometheus.NewRegistry()).Handle(t.Context(), batch(r)))
		if n := len(b.relay.took()); n != 1 {
			t.Errorf("%d mails", n)
		}
		b.hides(t)
	})
}

// again fails the test unless the error means: try again, and park nothing, however often.
func again(t *testing.T, err error) {
	t.Helper()
	if err == nil || runner.IsPermanent(err) || runner.IsRefused(err) {
		t.Fatalf("got %v, want an error that is tried again for as long as it takes", err)
	}
}

// insist calls Handle until the engine that came back is noticed.
func insist(t *testing.T, m *reminder.Mailer, r schemas.Reminder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		err := m.Handle(ctx, batch(r))
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// The crash that may repeat a mail: the relay took it, and the process ended before anything was kept.
func TestARepeatedMailIsRecognised(t *testing.T) {
	b := setupStoppable(t, newRelay(t, rules{}))
	b.relay.now(rules{data: func(string) error { b.mongodb.Stop(); return nil }})
	r := b.idle("u1", 7)
	again(t, b.handle(t, r))
	b.mongodb.Start()
	b.relay.now(rules{})
	insist(t, b.another(t, prometheus.NewRegistry()), r)
	mails := b.relay.took()
	if len(mails) != 2 || mails[0].Header.Get("Message-ID") != mails[1].Header.Get("Message-ID") {
		t.Fatalf("%d mails: %+v", len(mails), mails)
	}
	must(t, b.handle(t, b.idle("u1", 8)))
	must(t, b.handle(t, b.idle("u2", 7)))
	seen := map[string]bool{}
	for _, m := range b.relay.took()[1:] {
		seen[m.Header.Get("Message-ID")] = true
	}
	if len(seen) != 3 {
		t.Errorf("3 reminders have the Message-IDs %v", seen)
	}
}
