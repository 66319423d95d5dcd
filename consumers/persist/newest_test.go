package persist_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"cartstream/consumers/persist"
	"cartstream/schemas"
)

// Whatever is lost, repeated or out of order on the way, each document is always a state that its cart was in, never
// goes back, and is the newest once the newest change has arrived.
func TestDocumentsEndAsTheNewestCartsWhateverTheDelivery(t *testing.T) {
	b := setup(t)
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		users := map[string]*history{}
		for i := range rapid.IntRange(1, 3).Draw(rt, "users") {
			user := fmt.Sprintf("u%d-%d", run, i)
			h := &history{}
			for range rapid.IntRange(1, 12).Draw(rt, "changes") {
				h.add(user, rapid.SampledFrom([]string{"b1", "b2", "b3"}).Draw(rt, "book"),
					rapid.Int64Range(0, 3).Draw(rt, "quantity"), rapid.IntRange(0, 5).Draw(rt, "new epoch") == 0)
			}
			users[user] = h
			b.redis.set(h.newest())
		}
		stored := map[string]schemas.Cart{}
		look := func() {
			docs := b.documents(rt)
			for user, h := range users {
				doc := docs[user]
				if before := stored[user]; schemas.Newer(before.Epoch, before.Version, doc.Epoch, doc.Version) {
					rt.Fatalf("%s went back from %d.%d to %d.%d", user, before.Epoch, before.Version, doc.Epoch, doc.Version)
				}
				stored[user] = doc
				for _, state := range h.after {
					if doc.Epoch == state.Epoch && doc.Version == state.Version {
						same(rt, user+" as it once was", doc, state)
					}
				}
			}
		}
		for _, delivered := range deliveries(rt, users) {
			must(rt, b.store.Apply(rt.Context(), batch(delivered...)))
			look()
		}
		var last []schemas.CartChanged
		for _, h := range users {
			last = append(last, h.changes[len(h.changes)-1])
		}
		must(rt, b.store.Apply(rt.Context(), batch(last...)))
		docs := b.documents(rt)
		for user, h := range users {
			same(rt, user+" at the end", docs[user], h.newest())
		}
		_, err := b.carts.DeleteMany(rt.Context(), bson.D{}) // the embedded engine looks at every document each time
		must(rt, err)
	})
}

// deliveries are batches of what happened, with losses, repeats and swaps.
func deliveries(rt *rapid.T, users map[string]*history) [][]schemas.CartChanged {
	var log []schemas.CartChanged
	for i := range 12 {
		for _, h := range users {
			if i < len(h.changes) {
				log = append(log, h.changes[i])
			}
		}
	}
	var batches [][]schemas.CartChanged
	for len(log) > 0 {
		n := rapid.IntRange(1, min(8, len(log))).Draw(rt, "batch")
		var one []schemas.CartChanged
		for _, change := range log[:n] {
			for range rapid.IntRange(0, 2).Draw(rt, "times") {
				one = append(one, change)
			}
		}
		log = log[n:]
		if len(one) == 0 {
			continue
		}
		if rapid.Bool().Draw(rt, "swap") {
			one[0], one[len(one)-1] = one[len(one)-1], one[0]
		}
		batches = append(batches, one)
		if rapid.IntRange(0, 3).Draw(rt, "again") == 0 {
			batches = append(batches, batches[rapid.IntRange(0, len(batches)-1).Draw(rt, "which")])
		}
	}
	return batches
}

// After a takeover the old member may still write what the new one has long overtaken.
func TestMembersWithOverlappingBatchesNeverTakeADocumentBack(t *testing.T) {
	const users, changes, members = 6, 40, 3
	b := setup(t)
	var histories []*history
	for u := range users {
		h := story(fmt.Sprintf("u%d", u), changes)
		histories = append(histories, h)
		b.redis.set(h.newest())
	}
	done := make(chan struct{})
	var watcher, writers sync.WaitGroup
	watcher.Go(func() {
		seen := map[string]int64{}
		for {
			for user, d := range b.documents(t) {
				if d.Version < seen[user] {
					t.Errorf("%s went back from version %d to %d", user, seen[user], d.Version)
				}
				seen[user] = d.Version
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for m := range members {
		store := persist.New(connect(t, b.uri, nil), b.redis, prometheus.NewRegistry(), quiet())
		writers.Go(func() {
			// Each member goes through all of it in other steps, and goes back now and then.
			for from := 0; from < changes; from += 3 + m {
				var some []schemas.CartChanged
				for v := max(0, from-5); v < min(changes, from+3+m); v++ {
					for _, h := range histories {
						some = append(some, h.changes[v])
					}
				}
				if err := store.Apply(t.Context(), batch(some...)); err != nil {
					t.Errorf("member %d: %v", m, err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	watcher.Wait()
	for _, h := range histories {
		doc, _ := b.document(t, h.newest().UserID)
		same(t, "the end", doc, h.newest())
	}
}
