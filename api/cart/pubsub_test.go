package cart_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
)

// ear is a Listener that remembers.
type ear struct {
	mu         sync.Mutex
	heard      map[string][]string // payloads by user
	subscribed map[string]int
	news       chan struct{}
}

func newEar() *ear {
	return &ear{heard: map[string][]string{}, subscribed: map[string]int{}, news: make(chan struct{}, 1)}
}

func (e *ear) Changed(user, payload string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard[user] = append(e.heard[user], payload)
	e.tell()
}

func (e *ear) Subscribed(user string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.subscribed[user]++
	e.tell()
}

func (e *ear) tell() {
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// until waits for a condition on what was heard.
func (e *ear) until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		e.mu.Lock()
		met := condition()
		e.mu.Unlock()
		if met {
			return
		}
		select {
		case <-e.news:
		case <-late:
			e.mu.Lock()
			defer e.mu.Unlock()
			t.Fatalf("%s: heard %.500v, subscribed again %.500v", what, e.heard, e.subscribed)
		}
	}
}

// feed runs a Feed of the store until the test ends.
func feed(t *testing.T, s *cart.Store, l cart.Listener) *cart.Feed {
	t.Helper()
	f := s.Feed(l)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		_ = f.Run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return f
}

func confirmed(t *testing.T, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(20 * time.Second):
		t.Fatal("the subscription was not confirmed")
	}
}

func notice(user, payload string) cart.Notice {
	return cart.Notice{User: user, Payload: []byte(payload)}
}

func TestANoticeReachesEveryFeedThatFollowsItsUserAndNoOther(t *testing.T) {
	testNotices(t, enginetest.Redis(t))
}

func testNotices(t *testing.T, addrs ...string) {
	s := open(t, nil, addrs...)
	a, b := newEar(), newEar()
	feedA, feedB := feed(t, s, a), feed(t, s, b)
	confirmed(t, feedA.Follow("u1"))
	confirmed(t, feedA.Follow("u2"))
	confirmed(t, feedB.Follow("u1"))
	large := strings.Repeat("x", 1<<20)
	err := s.Publish(t.Context(), []cart.Notice{notice("u1", "1"), notice("u2", "1"), notice("u3", "1"), notice("u1", large), notice("u1", "3")})
	if err != nil {
		t.Fatal(err)
	}
	a.until(t, "first feed", func() bool { return len(a.heard["u1"]) == 3 && len(a.heard["u2"]) == 1 })
	b.until(t, "second feed", func() bool { return len(b.heard["u1"]) == 3 })
	for _, e := range []*ear{a, b} {
		if got := e.heard["u1"]; got[0] != "1" || got[1] != large || got[2] != "3" {
			t.Error("not in order")
		}
		if len(e.heard["u3"]) != 0 || len(e.subscribed) != 0 {
			t.Errorf("heard %v, subscribed %v", e.heard["u3"], e.subscribed)
		}
	}
}

func TestWhoIsNotFollowedAnyMoreIsNotHeard(t *testing.T) {
	s := open(t, nil, enginetest.Redis(t))
	e := newEar()
	f := feed(t, s, e)
	confirmed(t, f.Follow("u1"))
	confirmed(t, f.Follow("u2"))
	f.Unfollow("u1")
	// It takes effect when Redis has heard of it.
	before, heard := 0, -1
	for sent, deadline := 1, time.Now().Add(10*time.Second); heard != before; sent++ {
		if time.Now().After(deadline) {
			t.Fatal("u1 is still heard")
		}
		if err := s.Publish(t.Context(), []cart.Notice{notice("u1", "1"), notice("u2", "1")}); err != nil {
			t.Fatal(err)
		}
		before = max(0, heard)
		e.until(t, "u2", func() bool {
			heard = len(e.heard["u1"])
			return len(e.heard["u2"]) == sent
		})
	}
}

func TestASubscriptionStandsOnceItIsConfirmedHoweverOftenItWasLeftBefore(t *testing.T) {
	testChurn(t, enginetest.Redis(t))
}

func testChurn(t *testing.T, addrs ...string) {
	s := open(t, nil, addrs...)
	e := newEar()
	f := feed(t, s, e)
	var all sync.WaitGroup
	for u := range 20 {
		all.Go(func() {
			user := fmt.Sprint("u", u)
			for i := range 20 {
				c := f.Follow(user)
				if i%3 == 0 { // else it is left before Redis may have confirmed it
					confirmed(t, c)
				}
				f.Unfollow(user)
			}
			confirmed(t, f.Follow(user))
			if err := s.Publish(context.Background(), []cart.Notice{notice(user, "here")}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	e.until(t, "all", func() bool {
		for u := range 20 {
			if len(e.heard[fmt.Sprint("u", u)]) != 1 {
				return false
			}
		}
		return true
	})
	if len(e.subscribed) != 0 {
		t.Errorf("subscribed again, though nothing was lost: %v", e.subscribed)
	}
}

func TestThousandsAreFollowedAndSubscribedAgainAfterRedisWasAway(t *testing.T) {
	const users = 2 * 1300
	redis := enginetest.EmbeddedRedis(t)
	s := open(t, nil, redis.Addr)
	e := newEar()
	f := feed(t, s, e)
	waits := make([]<-chan struct{}, users)
	for u := range users {
		waits[u] = f.Follow(fmt.Sprint("u", u))
	}
	for _, w := range waits {
		confirmed(t, w)
	}
	for u := range users / 2 {
		f.Unfollow(fmt.Sprint("u", users/2+u))
	}
	redis.Kill()
	if err := s.Publish(t.Context(), []cart.Notice{notice("u1", "lost")}); err == nil {
		t.Error("published without Redis")
	}
	late := f.Follow("late")
	redis.Start()
	confirmed(t, late)
	e.until(t, "subscribed again", func() bool { return len(e.subscribed) == users/2 })
	for user, times := range e.subscribed {
		if times != 1 {
			t.Errorf("%s subscribed again %d times", user, times)
		}
	}
	if err := s.Publish(t.Context(), []cart.Notice{notice("u1", "found"), notice("late", "found")}); err != nil {
		t.Error(err)
	}
	e.until(t, "both", func() bool { return len(e.heard["u1"]) == 1 && len(e.heard["late"]) == 1 })
}

func TestNothingIsConfirmedUntilRedisIsThere(t *testing.T) {
	redis := enginetest.EmbeddedRedis(t)
	redis.Stop()
	s := open(t, nil, redis.Addr)
	f := feed(t, s, newEar())
	c, left := f.Follow("u1"), f.Follow("u2")
	f.Unfollow("u2")
	select {
	case <-c:
		t.Error("confirmed without Redis")
	case <-time.After(200 * time.Millisecond): // some attempts
	}
	redis.Start()
	confirmed(t, c)
	select {
	case <-left:
		t.Error("who was left is confirmed")
	default:
	}
}

func TestPublishingGivesUpSoonAndSaysHowManyWereLost(t *testing.T) {
	redis := enginetest.EmbeddedRedis(t)
	s := open(t, nil, redis.Addr)
	redis.Freeze()
	defer redis.Thaw()
	began := time.Now()
	err := s.Publish(t.Context(), []cart.Notice{notice("u1", "1"), notice("u2", "1")})
	if err == nil || !strings.Contains(err.Error(), "2 of 2 notices") {
		t.Errorf("error %v", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestPublishingNothingIsFine(t *testing.T) {
	s := open(t, nil, "127.0.0.1:1")
	if err := s.Publish(t.Context(), nil); err != nil {
		t.Error(err)
	}
}
