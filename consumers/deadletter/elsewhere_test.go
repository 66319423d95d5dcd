package deadletter_test

import (
	"slices"
	"testing"

	"cartstream/consumers/deadletter"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

func TestAReplayWaitsForTheProcessThatRunsTheGroup(t *testing.T) {
	e := engines(t)
	push := &picky{rule: rejectAll}
	first := with(t, e, push.consumer("push"))
	second := with(t, e) // runs no push
	first.redis.set(change("u1", 1))
	first.produce(event(change("u1", 1)))
	l := second.one("group=push")
	push.become(nil)
	second.replay(l.ID)
	await(t, "it is replayed", func() bool { return second.one("group=push").Status == deadletter.Replayed })
	if got := push.versions(); !slices.Equal(got, []int64{1}) {
		t.Errorf("the group got %v", got)
	}
	if got := second.history(l.ID); !slices.Equal(got, []string{"boss replay replayed"}) {
		t.Errorf("history %q", got)
	}

	push.become(rejectAll)
	for _, user := range []string{"u2", "u3"} {
		first.redis.set(change(user, 1))
		first.produce(event(change(user, 1)))
	}
	await(t, "two more are parked", func() bool { return len(second.list("status=parked")) == 2 })
	push.become(nil)
	var sum deadletter.Summary
	if status := second.call("POST", "/admin/dead-letters/replay", `{"filter":{"group":"push"}}`, &sum); status != 200 || sum.Matched != 2 {
		t.Errorf("replay by filter: %d %+v", status, sum)
	}
	await(t, "they are replayed", func() bool { return len(second.list("status=replayed")) == 3 })
}

func TestWhatTimeHasOvertakenNeedsNoOtherProcess(t *testing.T) {
	b := setup(t) // runs no push, nor does another
	b.redis.set(change("u1", 1))
	rec := written("a1", 1, 1000)
	rec.Value = schemas.EncodeCartChanged(change("u1", 1))
	for i, h := range rec.Headers {
		if h.Key == runner.HeaderGroup {
			rec.Headers[i].Value = []byte("push")
		}
	}
	b.produce(rec)
	b.one("group=push")
	b.redis.set(change("u1", 1), change("u1", 2))
	if l := b.replay("a1"); l.Status != deadletter.Superseded {
		t.Errorf("letter %+v", l)
	}
	if got := b.history("a1"); !slices.Equal(got, []string{"boss replay superseded"}) {
		t.Errorf("history %q", got)
	}
}
