package reminder

import (
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"cartstream/consumers/runner"
)

func TestTwoProcessesSendADeferredMailOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		one, other := w.process(t), w.process(t)
		w.answer = says(full)
		one.run(t)
		other.run(t)
		want := map[string]int{}
		for n := range doubtAfter {
			user := fmt.Sprint("u", n)
			one.defers(t, user)
			want[user] = 1
		}
		w.set(func() { w.answer = func(string) error { time.Sleep(time.Second); return nil } })
		time.Sleep(5 * time.Minute)
		if !maps.Equal(w.all(), want) || one.tried(t, sent)+other.tried(t, sent) != len(want) {
			t.Errorf("sent %v, by one %d, by the other %d", w.all(), one.tried(t, sent), other.tried(t, sent))
		}
	})
}

func TestWhatADeadProcessHadInHandIsTriedAfterItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.answer = says(full)
		p := w.process(t)
		p.defers(t, "u1")
		time.Sleep(waits[0])
		found := w.deferral("u1")
		claimed := found
		claimed.Due = time.Now().Add(lease)
		if ours, err := w.change(t.Context(), found, &claimed); !ours || err != nil { // and then it dies
			t.Fatal(ours, err)
		}
		w.set(func() { w.answer = nil })
		p.run(t)
		time.Sleep(lease - time.Second)
		if n := w.took("u1"); n != 0 {
			t.Fatalf("%d mails within the lease", n)
		}
		time.Sleep(2 * lookEvery)
		if n := w.took("u1"); n != 1 || w.waiting() != 0 {
			t.Errorf("%d mails, %d wait", n, w.waiting())
		}
	})
}

func TestAProcessThatEndsFinishesWhatItHasInHand(t *testing.T) {
	for claim, c := range map[string]struct {
		takes time.Duration
		sent  int
	}{
		"where that takes a second":           {time.Second, 1},
		"but waits no longer than it has for": {time.Hour, 0},
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				p := w.process(t)
				w.answer = says(full)
				p.defers(t, "u1")
				w.answer = nil
				p.relay = slowly{w, c.takes}
				stop := p.run(t)
				time.Sleep(waits[0] + lookEvery) // it is in hand
				began := time.Now()
				stop()
				if took := time.Since(began); took > grace || w.took("u1") != c.sent || w.waiting() != 1-c.sent {
					t.Errorf("ended after %s with %d mails, %d wait", took, w.took("u1"), w.waiting())
				}
			})
		})
	}
}

func TestAProcessThatEndsKeepsWhatBecameOfAMailThatTheRelayHas(t *testing.T) {
	for claim, c := range map[string]struct {
		answer           error
		sent, unanswered int64
	}{
		"it was taken":     {nil, 1, 0},
		"nothing was said": {silent, 0, 1},
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				p, other := w.process(t), w.process(t)
				w.answer = says(full)
				p.defers(t, "u1")
				w.answer = nil
				p.relay = lastly{w, c.answer}
				stop := p.run(t)
				time.Sleep(waits[0] + lookEvery) // it is in hand
				began := time.Now()
				stop()
				if took := time.Since(began); took > grace {
					t.Errorf("ended after %s", took)
				}
				other.run(t)
				time.Sleep(silences[0] - time.Minute) // beyond any lease
				if d := w.deferral("u1"); int64(w.took("u1")) != c.sent || w.kept["u1"].Version != c.sent || d.Unanswered != c.unanswered {
					t.Errorf("%d mails, kept %v, waits %+v", w.took("u1"), w.kept["u1"], d)
				}
			})
		})
	}
}

// A relay's yes that MongoDB doesn't know must not be lost with the lease.
func TestATakenMailIsKeptAsSoonAsMongoDBIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p, other := w.process(t), w.process(t)
		w.answer = says(full)
		p.defers(t, "u1")
		p.run(t)
		w.set(func() { w.answer = func(string) error { w.set(func() { w.mongo = errAway }); return nil } })
		time.Sleep(time.Hour)
		other.run(t)
		p.Pause() // begins nothing anew
		time.Sleep(2 * lookEvery)
		if w.took("u1") != 1 || w.waiting() != 1 {
			t.Fatalf("%d mails, %d wait", w.took("u1"), w.waiting())
		}
		w.set(func() { w.mongo, w.answer = nil, nil })
		time.Sleep(insistEvery)
		synctest.Wait()
		if kept, _ := w.last(t.Context(), "u1"); kept.Version != 1 {
			t.Errorf("kept %v", kept)
		}
		time.Sleep(lease + 2*lookEvery)
		if w.took("u1") != 1 || w.waiting() != 0 {
			t.Errorf("%d mails, %d wait", w.took("u1"), w.waiting())
		}
	})
}

func TestWhatCannotBeParkedIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.lot = errAway
		p := w.process(t)
		w.answer = says(full)
		p.defers(t, "u1")
		w.set(func() { w.answer = says(unknown) })
		p.run(t)
		time.Sleep(time.Hour)
		if w.waiting() != 1 {
			t.Fatalf("%d wait", w.waiting())
		}
		w.set(func() { w.lot = nil })
		time.Sleep(time.Hour)
		if letters := w.parked(); len(letters) != 1 || letters[0].Attempts != 2 || w.waiting() != 0 {
			t.Errorf("letters %+v, %d wait", letters, w.waiting())
		}
	})
}

func TestPausedNothingIsTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		p := w.process(t)
		w.answer = says(full)
		p.defers(t, "u1")
		w.set(func() { w.answer = nil })
		p.Pause()
		p.run(t)
		time.Sleep(time.Hour)
		if w.took("u1") != 0 {
			t.Fatal("it was sent")
		}
		p.Resume()
		time.Sleep(2 * lookEvery)
		if w.took("u1") != 1 {
			t.Error("it wasn't sent")
		}
	})
}

// A replay is of a letter: when it comes to nothing once more, that letter is open again, with all attempts.
func TestADeferredReplayEndsAsTheSameLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := time.Now().Add(-time.Hour)
		d := newDeferral(recordOf("u1", 1), Group, &runner.Letter{ID: "l1", Attempts: 4, FirstFailed: first}, time.Now())
		w := newWorld()
		w.waits["u1"] = d
		w.answer = says(unknown)
		w.process(t).run(t)
		time.Sleep(time.Minute)
		if letters := w.parked(); len(letters) != 1 || letters[0].ID != "l1" || letters[0].Attempts != 5 || !letters[0].First.Equal(first) {
			t.Errorf("letters %+v", letters)
		}
	})
}
