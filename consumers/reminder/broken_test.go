package reminder_test

import (
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/consumers/reminder"
)

// dueIn is when the user's deferred reminder is tried again.
func (b *bundle) dueIn(t *testing.T, user string) time.Duration {
	t.Helper()
	var d struct{ Due time.Time }
	must(t, b.db.Collection(reminder.Deferrals).FindOne(t.Context(), bson.M{"_id": user}).Decode(&d))
	return time.Until(d.Due)
}

// Whoever got that mail may have got it, as where nothing was said in time.
func TestAConnectionThatBreaksAtTheEndOfAMailIsNoAnswer(t *testing.T) {
	var got atomic.Int32
	b := setup(t, newRelay(t, rules{drop: func(string) bool { got.Add(1); return true }}))
	r := b.idle("u1", 7)
	for range 5 {
		must(t, b.handle(t, r))
	}
	if n := got.Load(); n != 1 || b.outcomes(t, "deferred") != 5 {
		t.Errorf("the relay got it %d times, %d are counted as deferred", n, b.outcomes(t, "deferred"))
	}
	if in := b.dueIn(t, "u1"); in < 55*time.Minute || in > time.Hour {
		t.Errorf("it is sent again in %s", in)
	}
	b.hides(t)
}

func TestAMailThatBreaksConnectionsIsDeferredAfterThree(t *testing.T) {
	var cuts atomic.Int32
	b := setup(t, newRelay(t, rules{cut: func(string) bool { cuts.Add(1); return true }}))
	r := b.idle("u1", 7)
	for range 2 {
		err := b.handle(t, r)
		again(t, err)
		b.hides(t, err)
	}
	for range 2 {
		must(t, b.handle(t, r))
	}
	if n := cuts.Load(); n != 3 {
		t.Errorf("it broke %d connections", n)
	}
	if in := b.dueIn(t, "u1"); in < 50*time.Second || in > time.Minute {
		t.Errorf("it is sent again in %s", in)
	}
	b.relay.now(rules{})
	must(t, b.handle(t, b.idle("u2", 7)))
	b.later(t, b.mailer)
	await(t, "both have one", func() bool { return len(b.relay.took()) == 2 })
}
