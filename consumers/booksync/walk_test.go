package booksync_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAChangeReachesEveryCartThatHoldsTheBook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 16)
		b.hold("b1", 1234)
		b.run()
		after(5 * time.Second)
		b.handle(b.change("b1"))
		after(5 * time.Second)
		if n := b.behind("b1", 2); n > 0 {
			t.Errorf("%d carts are behind", n)
		}
		if n := b.mostSteps(); n != 1 {
			t.Errorf("%d steps held the server at once", n)
		}
		if n := b.metric("cartstream_booksync_carts_changed_total"); n != 16*1234 {
			t.Errorf("%v carts changed, by the metric", n)
		}
		if n := b.metric("cartstream_booksync_walk_seconds"); n != 1 {
			t.Errorf("%v fan-outs ended, by the metric", n)
		}
		if n := b.metric("cartstream_booksync_walks_waiting"); n != 0 {
			t.Errorf("%v walks wait, by the metric", n)
		}
		for _, want := range []string{"level=INFO", "book=b1", "version=2", fmt.Sprint("carts=", 16*1234), "duration="} {
			if !strings.Contains(b.log.String(), want) {
				t.Errorf("no %q in the log:\n%s", want, b.log)
			}
		}
	})
}

func TestAWalkBeginsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 16)
		b.hold("b1", 1)
		b.run()
		after(5300 * time.Millisecond)
		b.handle(b.change("b1"))
		after(150 * time.Millisecond)
		if n := b.behind("b1", 2); n > 0 {
			t.Errorf("%d carts are behind", n)
		}
	})
}

func TestALongWalkMakesNoShortOneWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 4)
		b.hold("long", 1_000_000, 0)
		b.hold("short", 50)
		b.run()
		after(5 * time.Second)
		b.handle(b.change("long"))
		after(3 * time.Second)
		b.handle(b.change("short"))
		after(300 * time.Millisecond)
		if n := b.behind("short", 2); n > 0 {
			t.Errorf("%d carts still wait for the short one", n)
		}
		if n := b.behind("long", 2); n == 0 {
			t.Error("the long walk is over: it proves nothing")
		}
	})
}

func TestServersAreWalkedAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 3)
		for i := range 3 {
			b.set(i, func(s *shard) { s.server = fmt.Sprint("redis-", i) })
		}
		b.hold("b1", 10_000)
		b.run()
		after(5 * time.Second)
		b.set(1, func(s *shard) { s.fault = errAway })
		b.handle(b.change("b1"))
		after(600 * time.Millisecond) // 200 steps of 1 ms, and as much rest between them
		if n := b.behind("b1", 2, 0, 2); n > 0 {
			t.Errorf("%d carts on the servers that answer are behind", n)
		}
		if n := b.mostSteps(); n != 1 {
			t.Errorf("%d steps held a server at once", n)
		}
		// A replica was promoted: the shard is elsewhere.
		b.set(1, func(s *shard) { s.server, s.fault = "redis-3", nil })
		after(5 * time.Second)
		if n := b.behind("b1", 2); n > 0 {
			t.Errorf("%d carts are behind", n)
		}
	})
}

func TestALongOutboxHoldsItsShardAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 3)
		b.hold("b1", 500)
		b.set(1, func(s *shard) { s.paused = true })
		b.run()
		after(5 * time.Second)
		b.handle(b.change("b1"))
		after(time.Second)
		if n := b.behind("b1", 2); n != 500 {
			t.Errorf("%d carts are behind, want those of the one shard", n)
		}
		_, before, _ := b.seen()
		after(10 * time.Second)
		if _, now, _ := b.seen(); len(now)-len(before) > 60 {
			t.Errorf("%d steps in vain in ten seconds", len(now)-len(before))
		}
		b.set(1, func(s *shard) { s.paused = false })
		after(time.Second)
		if n := b.behind("b1", 2); n > 0 {
			t.Errorf("%d carts are behind", n)
		}
	})
}

func TestAnotherProcessWalksAreLeftToIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 2)
		b.hold("b1", 500)
		b.set(0, func(s *shard) { s.leased = "another" })
		b.run()
		after(5 * time.Second)
		b.handle(b.change("b1"))
		after(3 * time.Second)
		if n := b.behind("b1", 2); n != 500 {
			t.Errorf("%d carts are behind, want those of the one shard", n)
		}
		b.set(0, func(s *shard) { s.leased = "" }) // it died, and its lease ran out
		after(3 * time.Second)
		if n := b.behind("b1", 2); n > 0 {
			t.Errorf("%d carts are behind", n)
		}
	})
}

func TestANewProcessGoesOnWithWhatTheShardsSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 4)
		b.hold("b1", 500)
		b.handle(b.change("b1")) // and killed before a step was taken
		b.run()
		after(3 * time.Second)
		if n := b.behind("b1", 2); n > 0 {
			t.Errorf("%d carts are behind", n)
		}
	})
}

func TestIdleItAsksEachShardOnceASecondAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 128)
		b.hold("b1", 1)
		b.run()
		after(5 * time.Second)
		began, _, _ := b.seen()
		askedBefore, _ := b.asked()
		after(time.Minute)
		looks, steps, calls := b.seen()
		if n := looks - began; n < 128*59 || n > 128*61 {
			t.Errorf("%d looks in a minute", n)
		}
		if asked, _ := b.asked(); asked > askedBefore || len(steps) > 0 || len(calls) > 0 {
			t.Errorf("%d calls to the catalogue, steps %v, Learn %v", asked-askedBefore, steps, calls)
		}
	})
}

func TestPausedNothingGoesOnUntilItIsResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 2)
		b.hold("b1", 100_000)
		b.run()
		after(5 * time.Second)
		b.handle(b.change("b1"))
		after(100 * time.Millisecond)
		b.fanout.Pause()
		after(10 * time.Millisecond)
		_, steps, _ := b.seen()
		if len(steps) == 0 || b.behind("b1", 2) == 0 {
			t.Fatal("it wasn't paused in the middle")
		}
		b.set(0, func(s *shard) { s.refresh = "7" })
		after(time.Minute)
		if _, now, _ := b.seen(); len(now) > len(steps) || b.refresh(0) == "" {
			t.Errorf("%d steps while paused, refresh %q", len(now)-len(steps), b.refresh(0))
		}
		b.fanout.Resume()
		after(10 * time.Second)
		if n := b.behind("b1", 2); n > 0 || b.refresh(0) != "" {
			t.Errorf("%d carts are behind, refresh %q", n, b.refresh(0))
		}
	})
}
