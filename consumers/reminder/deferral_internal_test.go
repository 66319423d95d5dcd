package reminder

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// at are the times after the first attempt at which others follow, after these waits.
func at(waits []time.Duration) []time.Duration {
	all := []time.Duration{0}
	for i, d := range waits {
		all = append(all, all[i]+d)
	}
	return all
}

// about reports whether each is as wanted, or a look, and what attempts take, later.
func about(got, want []time.Duration) bool {
	return slices.EqualFunc(got, want, func(g, w time.Duration) bool { return g >= w && g < w+time.Duration(len(want))*lookEvery })
}

func TestAMailThatIsRefusedForNowEndsOneDay(t *testing.T) {
	for claim, c := range map[string]struct {
		refusal  *failure
		want     []time.Duration
		class    string
		attempts int
	}{
		"refused again and again, after two days":                            {full, at(waits), runner.ClassExhausted, 10},
		"never answered, after two days, in which its user got five at most": {silent, at(silences), runner.ClassExhausted, 5},
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				p := w.process(t)
				w.answer = says(c.refusal)
				p.run(t)
				began := time.Now()
				p.defers(t, "u1")
				time.Sleep(5 * time.Second)
				if n := p.shown(t); n != 1 {
					t.Errorf("%d are shown to wait", n)
				}
				time.Sleep(10 * 24 * time.Hour)
				if got := w.attempts("u1"); !about(got, c.want) {
					t.Errorf("mails after %v, want %v", got, c.want)
				}
				letters := w.parked()
				if len(letters) != 1 || w.waiting() != 0 || p.tried(t, parked) != 1 || p.tried(t, refusedAgain) != len(c.want)-2 {
					t.Fatalf("%d letters, %d wait, metrics: %d parked, %d refused", len(letters), w.waiting(), p.tried(t, parked), p.tried(t, refusedAgain))
				}
				l, rec := letters[0], recordOf("u1", 1)
				if l.Class != c.class || l.Attempts != c.attempts || !l.First.Equal(began) || l.ID != runner.LetterID(Group, rec.Record) {
					t.Errorf("letter %+v", l)
				}
				if o := l.Record; o.Topic != schemas.CartReminders || o.Partition != 3 || o.Offset != 41 || string(o.Key) != "u1" ||
					len(o.Headers) != 1 || o.Headers[0].Key != "ce_id" || len(o.Value) == 0 {
					t.Errorf("its record is %+v", o)
				}
				if n := p.shown(t); n != 0 {
					t.Errorf("%d are shown to wait", n)
				}
			})
		})
	}
}

func TestADeferredMail(t *testing.T) {
	for claim, c := range map[string]struct {
		meanwhile func(*world)
		mails     int
		sent      int
		outcome   string
		class     string // "" for no letter
	}{
		"of a greylist is sent a minute later":  {func(w *world) { w.answer = nil }, 2, 1, sent, ""},
		"is dropped when the cart changed":      {func(w *world) { w.carts["u1"] = 2 }, 1, 0, changed, ""},
		"is dropped when its user opted out":    {func(w *world) { w.out["u1"] = true }, 1, 0, optedOut, ""},
		"is parked when it is refused for good": {func(w *world) { w.answer = says(unknown) }, 2, 0, "", runner.ClassRejected},
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				p := w.process(t)
				w.answer = says(full)
				p.run(t)
				p.defers(t, "u1")
				w.set(func() { c.meanwhile(w) })
				time.Sleep(2 * time.Minute)
				if n := len(w.attempts("u1")); n != c.mails || w.took("u1") != c.sent || w.waiting() != 0 {
					t.Errorf("%d mails, %d taken, %d wait", n, w.took("u1"), w.waiting())
				}
				if c.outcome != "" && p.metric(t, "cartstream_reminder_mails_total", c.outcome) != 1 {
					t.Error("its outcome isn't counted")
				}
				if letters := w.parked(); c.class == "" && len(letters) != 0 || c.class != "" && (len(letters) != 1 || letters[0].Class != c.class || letters[0].Attempts != 2) {
					t.Errorf("letters %+v", letters)
				}
			})
		})
	}
}

func TestANewerReminderTakesTheDeferredOnesPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := w.process(t)
		w.answer = says(full)
		p.run(t)
		p.defers(t, "u1")
		w.set(func() { w.carts["u1"] = 7 })
		for range 2 { // a repeat changes nothing
			if err := p.Handle(t.Context(), []runner.Record[schemas.Reminder]{recordOf("u1", 7)}); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(w.attempts("u1")); n != 2 || w.waiting() != 1 || w.deferral("u1").Version != 7 || w.deferral("u1").Attempts != 1 {
			t.Errorf("%d mails, waiting: %+v", n, w.deferral("u1"))
		}
		w.set(func() { w.answer = nil })
		time.Sleep(2 * time.Minute)
		if kept, _ := w.last(t.Context(), "u1"); w.took("u1") != 1 || kept.Version != 7 {
			t.Errorf("%d mails, kept %v", w.took("u1"), kept)
		}
	})
}

func TestAnOutageEndsNoDeferral(t *testing.T) {
	for claim, outage := range map[string]func(*world){
		"of the relay":          func(w *world) { w.answer = says(broken) },
		"that refuses everyone": func(w *world) { w.answer = says(full) },
		"that answers nobody":   func(w *world) { w.answer = says(silent) },
		"that cuts everybody":   func(w *world) { w.answer = says(cutOff) },
		"of the connection":     func(w *world) { w.answer = func(string) error { return errAway } },
		"of MongoDB":            func(w *world) { w.mongo = errAway },
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				p := w.process(t)
				w.answer = says(full)
				p.run(t)
				for n := range doubtAfter {
					p.defers(t, fmt.Sprint("u", n))
				}
				w.set(func() { outage(w) })
				time.Sleep(4 * 24 * time.Hour)
				if n := len(w.parked()); n != 0 || w.waiting() != doubtAfter {
					t.Fatalf("%d are parked, %d wait", n, w.waiting())
				}
				w.set(func() { w.answer, w.mongo = nil, nil })
				time.Sleep(12 * time.Hour)
				if w.waiting() != 0 || len(w.all()) != doubtAfter || len(w.parked()) != 0 {
					t.Errorf("%d wait, sent %v", w.waiting(), w.all())
				}
			})
		})
	}
}

func TestARelayInTroubleHoldsThePartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := w.process(t)
		w.answer = says(broken)
		for began := time.Now(); time.Since(began) < 48*time.Hour; time.Sleep(time.Minute) {
			held(t, p.handle(t, "u1"))
		}
		if w.waiting() != 0 || len(w.parked()) != 0 {
			t.Errorf("%d wait, %d are parked", w.waiting(), len(w.parked()))
		}
	})
}

// It breaks off one mail each time, and takes or defers all others; or it breaks off everybody's.
func TestAMailThatBreaksConnectionsIsItsOwnTroubleUnlessEverybodysDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := w.process(t)
		w.answer = says(cutOff)
		breaks := func(user string) {
			for range breaksMost - 1 {
				held(t, p.handle(t, user))
			}
		}
		for n := range doubtAfter {
			user := fmt.Sprint("u", n)
			breaks(user)
			p.defers(t, user)
		}
		breaks("next")
		for range 3 {
			held(t, p.handle(t, "next"))
		}
		w.set(func() { w.answer = nil })
		p.run(t)
		time.Sleep(2 * time.Minute)
		if w.waiting() != 0 || len(w.all()) != doubtAfter || len(w.parked()) != 0 {
			t.Errorf("%d wait, sent %v", w.waiting(), w.all())
		}
		p.defers(t, "next") // taken
	})
}

func TestADeferredMailThatBreaksConnectionsEndsOneDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := w.process(t)
		w.answer = says(full)
		p.defers(t, "u1")
		w.set(func() { w.answer = says(cutOff) })
		p.run(t)
		time.Sleep(3 * 24 * time.Hour)
		if letters := w.parked(); len(letters) != 1 || letters[0].Class != runner.ClassExhausted || letters[0].Attempts != 10 || w.waiting() != 0 {
			t.Errorf("letters %+v, %d wait", letters, w.waiting())
		}
	})
}

func TestEvenWhoIsRefusedWithEverybodyEndsOneDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := w.process(t)
		w.answer = says(full)
		p.run(t)
		for n := range doubtAfter {
			p.defers(t, fmt.Sprint("u", n))
		}
		time.Sleep(excused)
		if n := len(w.parked()); n != 0 {
			t.Fatalf("%d are parked", n)
		}
		time.Sleep(excused)
		if n := len(w.parked()); n != doubtAfter || w.waiting() != 0 {
			t.Errorf("%d are parked, %d wait", n, w.waiting())
		}
	})
}

// Codes don't tell a greylist from a relay that takes nothing from us: the others' mails do.
func TestWhoIsRefusedWithEverybodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := w.process(t)
		w.answer = says(full)
		for n := range doubtAfter {
			p.defers(t, fmt.Sprint("u", n))
		}
		held(t, p.handle(t, "next"))
		time.Sleep(doubtEvery - time.Second)
		held(t, p.handle(t, "next"))
		time.Sleep(time.Second)
		p.defers(t, "next") // or one address could hold its partition for ever
		held(t, p.handle(t, "another"))
		w.set(func() { w.answer = nil })
		p.defers(t, "fine") // taken
		w.set(func() { w.answer = says(full) })
		for n := range doubtAfter {
			p.defers(t, fmt.Sprint("v", n))
		}
		held(t, p.handle(t, "another"))
	})
}

// What is known of it here, nobody else would know: where the call ended, so has the process's turn.
func TestAMailWithoutAnAnswerIsDeferredWhenTheCallEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := w.process(t)
		w.answer = says(full)
		for n := range doubtAfter {
			p.defers(t, fmt.Sprint("u", n))
		}
		p.relay = lastly{w, silent}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Handle(ctx, []runner.Record[schemas.Reminder]{recordOf("next", 1)}); err != nil || w.deferral("next").Unanswered != 1 {
			t.Errorf("%v, waits %+v", err, w.deferral("next"))
		}
	})
}

func TestMongoDBAwayHoldsWhatCannotBeDeferred(t *testing.T) {
	for claim, c := range map[string]struct {
		refusal *failure
		mails   int // until it is deferred
	}{
		"refused for now": {full, 2},
		"unanswered: its user may have got it, so it isn't sent again meanwhile": {silent, 1},
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				p := w.process(t)
				w.answer = func(string) error { w.set(func() { w.mongo = errAway }); return c.refusal }
				for range 30 {
					held(t, p.handle(t, "u1"))
					time.Sleep(time.Second)
				}
				w.set(func() { w.mongo, w.answer = nil, says(c.refusal) })
				p.defers(t, "u1")
				if n := len(w.attempts("u1")); n != c.mails || w.waiting() != 1 {
					t.Errorf("%d mails, %d wait", n, w.waiting())
				}
			})
		})
	}
}
