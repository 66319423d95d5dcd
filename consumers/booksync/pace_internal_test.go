package booksync

import (
	"testing"
	"time"
)

func TestOthersHaveThreeFifthsOfTheTime(t *testing.T) {
	var p pace
	for i, step := range []struct {
		work       int
		took, rest time.Duration
		claim      string
	}{
		{0, time.Millisecond, 0, "a step that did nothing held nothing"},
		{100, time.Millisecond, 1500 * time.Microsecond, "half as long again as the step, where nothing was in the way"},
		{50, 500 * time.Microsecond, 750 * time.Microsecond, "a shorter step, a shorter rest"},
		{100, 20 * time.Millisecond, 0, "a step that waited for 19 ms left them to others"},
		{3, 300 * time.Microsecond, 0, "what a call takes by itself is no hold"},
	} {
		if got := p.rest(step.work, step.took); got != step.rest {
			t.Errorf("step %d: %v, want %v: %s", i, got, step.rest, step.claim)
		}
	}
	for range 500 {
		p.rest(100, 4*time.Millisecond)
	}
	if got := p.rest(100, 4*time.Millisecond); got != 6*time.Millisecond {
		t.Errorf("a server that became slower gets %v", got)
	}
}
