package reminder_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/consumers/reminder"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// once does as do says the first time, and nothing later.
func once(do func(string) error) func(string) error {
	var first atomic.Bool
	return func(to string) error {
		if first.CompareAndSwap(false, true) {
			return do(to)
		}
		return nil
	}
}

func TestAMailThatIsRefusedForNowHoldsNobodyUp(t *testing.T) {
	for claim, refuses := range map[string]rules{
		"a greylist at RCPT":                        {rcpt: once(says(451, smtp.EnhancedCode{4, 7, 1}, "Greylisted, come back later"))},
		"a greylist without enhanced codes":         {rcpt: once(says(451, smtp.NoEnhancedCode, "Try again later"))},
		"a greylist once it saw the mail":           {data: once(says(450, smtp.EnhancedCode{4, 7, 1}, "Greylisted"))},
		"a full mailbox":                            {rcpt: once(says(452, smtp.EnhancedCode{4, 2, 2}, "Mailbox full"))},
		"a server behind it that knows it no more":  {rcpt: once(says(550, smtp.EnhancedCode{5, 7, 1}, "Relaying denied"))},
		"the same, in other words":                  {rcpt: once(says(554, smtp.EnhancedCode{5, 7, 1}, "Relay access denied"))},
		"a domain that can't be looked up just now": {rcpt: once(says(450, smtp.EnhancedCode{4, 1, 2}, "Domain not found"))},
	} {
		t.Run(claim, func(t *testing.T) {
			t.Parallel()
			b := setup(t, newRelay(t, refuses))
			r := b.idle("u1", 7)
			must(t, b.handle(t, r))
			if n := len(b.relay.took()); n != 0 || b.outcomes(t, "deferred") != 1 {
				t.Fatalf("%d mails, %d are counted as deferred", n, b.outcomes(t, "deferred"))
			}
			must(t, b.handle(t, r)) // the record comes again: that is no attempt
			if n := b.relay.tried(); n != 1 {
				t.Errorf("tried %d times", n)
			}
			must(t, b.handle(t, b.idle("u2", 7)))
			if n := len(b.relay.took()); n != 1 {
				t.Errorf("another got %d mails", n)
			}
			b.hides(t)
			var d bson.Raw
			must(t, b.db.Collection(reminder.Deferrals).FindOne(t.Context(), bson.M{"_id": "u1"}).Decode(&d))
			if text := d.String(); strings.Contains(text, "example.com") || strings.Contains(text, "hidden") {
				t.Errorf("an address is kept: %s", text)
			}

			b.later(t, b.mailer)
			await(t, "the second attempt is accepted", func() bool { return b.outcomes(t, "sent") == 2 })
			mails := b.relay.took()
			if len(mails) != 2 || mails[1].to != "u1@example.com" {
				t.Errorf("%d mails", len(mails))
			}
			b.hides(t)
		})
	}
}

// later makes all deferrals due, and lets the mailers try them until the test ends.
func (b *bundle) later(t *testing.T, mailers ...*reminder.Mailer) {
	t.Helper()
	_, err := b.db.Collection(reminder.Deferrals).UpdateMany(t.Context(), bson.M{}, bson.M{"$set": bson.M{"due": time.Now().Add(-time.Second)}})
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, m := range mailers {
		running.Go(func() {
			if err := m.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { stop(); running.Wait() })
}

// Whoever got that mail may have got it: the next one has to wait, however soon the reminder comes again.
func TestAMailWithoutAnAnswerIsNotSentAgainAtOnce(t *testing.T) {
	var got atomic.Int32
	var ids sync.Map
	b := setup(t, newRelay(t, rules{stall: func(string) bool { return got.Add(1) == 1 }, raw: func(mail string) {
		_, rest, _ := strings.Cut(mail, "Message-ID: ")
		id, _, _ := strings.Cut(rest, "\r\n")
		ids.Store(id, true)
	}}), quickly)
	r := b.idle("u1", 7)
	for got.Load() == 0 { // a slow machine may need the time before
		if err := b.handle(t, r); err != nil {
			again(t, err)
		}
	}
	for range 3 {
		must(t, b.handle(t, r))
	}
	if n := got.Load(); n != 1 {
		t.Errorf("the relay got it %d times", n)
	}
	var d struct{ Due time.Time }
	must(t, b.db.Collection(reminder.Deferrals).FindOne(t.Context(), bson.M{"_id": "u1"}).Decode(&d))
	if in := time.Until(d.Due); in < 55*time.Minute || in > time.Hour {
		t.Errorf("it is sent again in %s", in)
	}

	t.Run("an hour later it is, under the same Message-ID", func(t *testing.T) {
		b.later(t, b.another(t, prometheus.NewRegistry()))
		await(t, "it is taken", func() bool { return len(b.relay.took()) == 1 })
		n := 0
		ids.Range(func(any, any) bool { n++; return true })
		if n != 1 {
			t.Errorf("%d Message-IDs", n)
		}
	})
}

func TestWhatCannotBeDeferredIsHeld(t *testing.T) {
	b := setupStoppable(t, newRelay(t, rules{}))
	b.relay.now(rules{rcpt: func(to string) error {
		b.mongodb.Stop()
		return says(452, smtp.EnhancedCode{4, 2, 2}, "Mailbox full")(to)
	}})
	r := b.idle("u1", 7)
	for range 2 {
		again(t, b.handle(t, r))
	}
	b.mongodb.Start()
	b.relay.now(rules{rcpt: says(452, smtp.EnhancedCode{4, 2, 2}, "Mailbox full")})
	insist(t, b.mailer, r)
	if n := len(b.relay.took()); n != 0 || b.outcomes(t, "deferred") != 1 {
		t.Errorf("%d mails, %d are deferred", n, b.outcomes(t, "deferred"))
	}
}

// lot keeps what comes to nothing.
type lot struct {
	mu    sync.Mutex
	given []runner.GivenUp
}

func (l *lot) GiveUp(_ context.Context, _ string, g runner.GivenUp) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.given = append(l.given, g)
	return nil
}

func (l *lot) all() []runner.GivenUp {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.given
}

// Two processes look for the same deferrals in one MongoDB: each mail goes out once.
func TestTwoProcessesShareWhatIsDeferred(t *testing.T) {
	b := setup(t, newRelay(t, rules{rcpt: says(450, smtp.EnhancedCode{4, 2, 1}, "busy")}))
	lots := []*lot{{}, {}}
	other := b.another(t, prometheus.NewRegistry())
	b.mailer.ParkWith(lots[0])
	other.ParkWith(lots[1])
	users := []string{"u.1", "u-2", "u_3", "u4", "u5", "unknown", "changed"}
	for _, user := range users {
		must(t, b.handle(t, b.idle(user, 7)))
	}
	b.idle("changed", 8)
	b.relay.now(rules{rcpt: func(to string) error {
		if strings.HasPrefix(to, "unknown") {
			return says(550, smtp.EnhancedCode{5, 1, 1}, "User unknown")(to)
		}
		return nil
	}})
	b.later(t, b.mailer, other)
	await(t, "nothing waits any more", func() bool {
		n, err := b.db.Collection(reminder.Deferrals).CountDocuments(t.Context(), bson.M{})
		return err == nil && n == 0
	})
	seen := map[string]int{}
	for _, m := range b.relay.took() {
		seen[m.to]++
	}
	for _, user := range users[:5] {
		if seen[user+"@example.com"] != 1 {
			t.Errorf("%s got %d mails", user, seen[user+"@example.com"])
		}
	}
	letters := append(lots[0].all(), lots[1].all()...)
	if len(seen) != 5 || len(letters) != 1 || letters[0].Class != runner.ClassRejected || string(letters[0].Record.Key) != "unknown" {
		t.Errorf("mails to %v, letters %+v", seen, letters)
	}
	if len(letters) == 1 {
		r, err := schemas.DecodeReminder(letters[0].Record.Value)
		if err != nil || r.UserID != "unknown" || r.Version != 7 {
			t.Errorf("the letter is of %+v, %v", r, err)
		}
		b.hides(t, letters[0].Err)
	}
}
