package reminder

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas/env"
)

func newRoomOn(t *testing.T) *room {
	t.Helper()
	settings := env.MongoDB{URI: env.Secret(enginetest.Mongo(t))}
	db, err := settings.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Client().Disconnect(context.Background()) })
	return newRoom(db)
}

// deferredOf is the deferral of a user's reminder of that version, due at once.
func deferredOf(user string, version int64) deferral {
	d := newDeferral(recordOf(user, version), Group, nil, time.Now())
	d.Due = time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	return d
}

func TestOnlyTheNewestReminderOfAUserWaits(t *testing.T) {
	o := newRoomOn(t)
	put := func(versions ...int64) {
		t.Helper()
		var all sync.WaitGroup
		for _, v := range versions {
			all.Go(func() {
				if err := o.put(t.Context(), deferredOf("u.1", v)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	is := func(want int64) {
		t.Helper()
		if got, err := o.newest(t.Context(), "u.1"); err != nil || got != (cart.Tag{Epoch: 1, Version: want}) {
			t.Errorf("%+v, %v, want version %d", got, err, want)
		}
	}
	if got, err := o.newest(t.Context(), "u.1"); err != nil || got != (cart.Tag{}) {
		t.Errorf("%+v, %v", got, err)
	}
	put(3)
	put(2)
	is(3)
	put(5, 9, 4, 7, 8, 6) // at once
	is(9)
	found, waiting, err := o.due(t.Context(), time.Now(), 10)
	if err != nil || len(found) != 1 || waiting != 1 {
		t.Fatalf("%d are due, %d wait, %v", len(found), waiting, err)
	}
	got, rec := found[0], recordOf("u.1", 9)
	if r := got.record(); got.User != "u.1" || r.Offset != rec.Offset || r.Partition != rec.Partition || string(r.Value) == "" || r.Headers[0].Key != "ce_id" {
		t.Errorf("it comes back as %+v", got)
	}
	t.Run("a repeat of it leaves it as it is", func(t *testing.T) {
		later := got
		later.Due, later.Attempts = time.Now().Add(time.Hour), 3
		if ours, err := o.change(t.Context(), got, &later); !ours || err != nil {
			t.Fatal(ours, err)
		}
		put(9)
		if found, waiting, err := o.due(t.Context(), time.Now(), 10); err != nil || len(found) != 0 || waiting != 1 {
			t.Errorf("%d are due, %d wait, %v", len(found), waiting, err)
		}
	})
	t.Run("whoever had the older one no longer has anything", func(t *testing.T) {
		put(10)
		for _, next := range []*deferral{nil, {Due: time.Now()}} {
			if ours, err := o.change(t.Context(), got, next); ours || err != nil {
				t.Errorf("%v, %v", ours, err)
			}
		}
		is(10)
	})
}

func TestOneOfAllHasADeferral(t *testing.T) {
	o := newRoomOn(t)
	for _, user := range []string{"u1", "u2"} {
		if err := o.put(t.Context(), deferredOf(user, 1)); err != nil {
			t.Fatal(err)
		}
	}
	found, _, err := o.due(t.Context(), time.Now(), 1)
	if err != nil || len(found) != 1 {
		t.Fatalf("%+v, %v", found, err)
	}
	var winners atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			claimed := found[0]
			claimed.Due = time.Now().Add(lease)
			ours, err := o.change(t.Context(), found[0], &claimed)
			if err != nil {
				t.Error(err)
			}
			if ours {
				winners.Add(1)
				if ended, err := o.change(t.Context(), claimed, nil); !ended || err != nil {
					t.Errorf("the winner doesn't have it: %v, %v", ended, err)
				}
			}
		})
	}
	all.Wait()
	if winners.Load() != 1 {
		t.Errorf("%d have it", winners.Load())
	}
	if found, waiting, err := o.due(t.Context(), time.Now(), 10); err != nil || len(found) != 1 || waiting != 1 {
		t.Errorf("%+v, %d, %v", found, waiting, err)
	}
}
