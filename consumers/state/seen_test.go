package state

import (
	"strconv"
	"testing"

	"cartstream/schemas"
)

func TestALateRepeatIsNotWaitedFor(t *testing.T) {
	b := newBench(t)
	first := b.carts.change("u")
	again := *first
	second := b.carts.change("u")
	b.member(t)
	b.relay(t, first, second)
	follow(t, b.brokers, map[string]int64{"u": 2})
	b.commits(t, 2)
	again.Context = nil
	b.relay(t, &again)
	b.commits(t, 3)
}

func TestWhatWasSeenIsBounded(t *testing.T) {
	var s seen
	for n := range seenMost + 10 {
		s.overtaken(schemas.CartChanged{UserID: strconv.Itoa(n), Epoch: 1, Version: 2})
	}
	if n := len(s.newest); n > seenMost {
		t.Errorf("%d carts are remembered", n)
	}
	last := strconv.Itoa(seenMost + 9)
	if s.overtaken(schemas.CartChanged{UserID: last, Epoch: 1, Version: 2}) || !s.overtaken(schemas.CartChanged{UserID: last, Epoch: 1, Version: 1}) {
		t.Error("the newest change of the last cart isn't known")
	}
}
