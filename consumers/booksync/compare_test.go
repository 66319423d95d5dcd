package booksync_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestAProcessBeginsWithComparingEveryShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 8)
		for i := range 1000 { // more than a page
			b.hold(fmt.Sprintf("b%03d", i), 1)
		}
		b.change("b007") // these events were handled without shard 3, by a process that was killed
		b.change("b999")
		b.run()
		after(5 * time.Second)
		if n := b.behind("b007", 2) + b.behind("b999", 2); n > 0 {
			t.Errorf("%d carts are behind", n)
		}
		if asked, longest := b.asked(); longest > 500 || asked > 1000/300+1 {
			t.Errorf("%d calls for up to %d books: each book is to be looked up once", asked, longest)
		}
		if n := b.metric("cartstream_booksync_refreshes_total"); n != 8 {
			t.Errorf("%v comparisons, by the metric", n)
		}
		if n := b.metric("cartstream_booksync_refreshes_due"); n != 0 {
			t.Errorf("%v comparisons are due", n)
		}
	})
}

func TestAComparisonWaitsForTheCatalogueAndTheWalksDoNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 2)
		b.hold("b1", 10)
		b.hold("b2", 10)
		b.catalogue.away = errors.New("no primary")
		b.change("b2")
		b.run()
		after(5 * time.Second)
		b.handle(b.change("b1"))
		after(time.Second)
		if n := b.behind("b1", 2); n > 0 {
			t.Errorf("%d carts wait for the catalogue although their shard knows", n)
		}
		if asked, _ := b.asked(); asked > 30 { // each second by both shards, and once more when a walk hurries
			t.Errorf("it was asked %d times in 6 seconds", asked)
		}
		b.catalogue.mu.Lock()
		b.catalogue.away = nil
		b.catalogue.mu.Unlock()
		after(5 * time.Second)
		if n := b.behind("b2", 2); n > 0 {
			t.Errorf("%d carts are behind", n)
		}
	})
}

func TestABookThatTheShardForgotIsLookedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 2)
		b.hold("b1", 10)
		b.run()
		after(5 * time.Second)
		b.change("b1")
		b.set(1, func(s *shard) {
			delete(s.facts, "b1")
			s.walks["b1"] = 0
		})
		after(5 * time.Second)
		if n := b.behind("b1", 2, 1); n > 0 {
			t.Errorf("%d carts are behind", n)
		}
	})
}

func TestAWalkOfABookThatNeverWasIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 2)
		b.run()
		after(5 * time.Second)
		b.set(1, func(s *shard) { s.holders["b9"], s.walks["b9"] = []int64{1}, 0 })
		after(5 * time.Second)
		b.set(1, func(s *shard) {
			if n := len(s.walks); n > 0 {
				t.Errorf("%d walks wait for ever", n)
			}
		})
	})
}

func TestARefreshThatIsAskedForAgainIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 2)
		b.hold("b1", 10)
		b.run()
		after(5 * time.Second)
		for i := range int64(3) {
			b.change("b1")
			b.set(1, func(s *shard) { s.refresh = fmt.Sprint(i) })
			after(1500 * time.Millisecond) // a look each second, and the walk at once after the comparison
			if n := b.behind("b1", i+2, 1); n > 0 || b.refresh(1) != "" {
				t.Errorf("%d carts are behind after refresh %d, which is %q", n, i, b.refresh(1))
			}
		}
	})
}

func TestShardsThatDoNotAnswerMakeNoComparisonOfOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, 128)
		b.shards.slow = 900 * time.Millisecond // as long as a silent Redis is waited for
		for i := range 64 {
			b.set(i, func(s *shard) { s.fault = errAway })
		}
		b.hold("b1", 1)
		b.change("b1")
		b.run()
		after(10 * time.Second)
		if n := b.metric("cartstream_booksync_refreshes_due"); n != 64 {
			t.Errorf("%v comparisons are due, want those of the shards that don't answer", n)
		}
		if n := b.behind("b1", 2); n != 64 {
			t.Errorf("%d carts are behind", n)
		}
	})
}
