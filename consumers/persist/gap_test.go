package persist_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

func TestAMissingChangeIsHealedFromRedis(t *testing.T) {
	h := story("u1", 10)
	for claim, c := range map[string]struct {
		stored, redis int // versions; 0 for none
		incoming      []schemas.CartChanged
		want, reads   int
	}{
		"a gap takes the cart that Redis has": {stored: 3, redis: 9, incoming: h.changes[6:7], want: 9, reads: 1},
		"a gap without a document does too":   {redis: 9, incoming: h.changes[6:7], want: 9, reads: 1},
		"a gap in a batch keeps what came before it": {
			stored: 3, redis: 5, incoming: []schemas.CartChanged{h.changes[3], h.changes[4], h.changes[7]}, want: 5, reads: 1,
		},
		"a swap within the batch asks again": {
			stored: 3, redis: 6, incoming: []schemas.CartChanged{h.changes[4], h.changes[3]}, want: 6, reads: 1,
		},
		"a swap that the batch itself makes good asks nobody": {
			stored: 3, redis: 9, incoming: []schemas.CartChanged{h.changes[4], h.changes[3], h.changes[4]}, want: 5,
		},
		"an older cart in Redis never takes the document back": {stored: 5, redis: 2, incoming: h.changes[7:8], want: 5, reads: 1},
		"a cart missing in Redis leaves the document alone":    {stored: 5, incoming: h.changes[7:8], want: 5, reads: 1},
		"no gap, no question":                                  {stored: 5, redis: 9, incoming: h.changes[4:7], want: 7},
	} {
		t.Run(claim, func(t *testing.T) {
			b := setup(t)
			if c.stored > 0 {
				b.put(t, h.after[c.stored-1])
			}
			if c.redis > 0 {
				b.redis.set(h.after[c.redis-1])
			}
			must(t, b.store.Apply(t.Context(), batch(c.incoming...)))
			doc, _ := b.document(t, "u1")
			same(t, "the document", doc, h.after[c.want-1])
			if b.redis.reads != c.reads {
				t.Errorf("Redis was asked %d times, want %d", b.redis.reads, c.reads)
			}
		})
	}
}

func TestOnlyTheFullSyncWaitsForARecoveringShard(t *testing.T) {
	b := setup(t)
	gap, fine := story("gap", 9), story("fine", 4)
	b.redis.set(gap.newest())
	b.redis.recovering(errors.New("shard 7 is recovering"))
	incoming := batch(append([]schemas.CartChanged{gap.changes[5]}, fine.changes...)...)

	err := b.store.Apply(t.Context(), incoming)
	if !errors.Is(err, schemas.ErrUnavailable) {
		t.Fatalf("the batch with a gap: %v, want one that says that Redis can't be asked", err)
	}
	doc, _ := b.document(t, "fine")
	same(t, "the cart without a gap", doc, fine.newest())

	b.redis.recovering(nil)
	must(t, b.store.Apply(t.Context(), incoming))
	doc, _ = b.document(t, "gap")
	same(t, "the cart with the gap", doc, gap.newest())
}

// Recovery brings such a cart back from its document once this consumer has read all of Kafka.
func TestAFullSyncDoesNotWaitForACartThatComesBackFromItsOwnDocument(t *testing.T) {
	b := setup(t)
	h := story("u1", 9)
	b.put(t, h.after[2])
	b.redis.recovering(cart.ErrLost)
	must(t, b.store.Apply(t.Context(), batch(h.changes[5:7]...)))
	doc, _ := b.document(t, "u1")
	same(t, "the document", doc, h.after[2])
}

func TestAParkedRecordHasItsCartBroughtUpToRedis(t *testing.T) {
	b := setup(t)
	h := story("u1", 4)
	b.redis.set(h.newest())
	must(t, b.store.Heal(t.Context(), &kgo.Record{Key: []byte("u1"), Value: []byte("{")}))
	doc, _ := b.document(t, "u1")
	same(t, "the document", doc, h.newest())

	must(t, b.store.Heal(t.Context(), &kgo.Record{Key: []byte("no user's id \x00")}))
	if b.redis.reads != 1 {
		t.Errorf("Redis was asked for a cart that nobody can have")
	}
}

func TestMongoDBAwayIsWaitedForNeverCounted(t *testing.T) {
	server := enginetest.EmbeddedMongo(t)
	b := setupOn(t, server.Addr, nil)
	h := story("u1", 6)
	must(t, b.store.Apply(t.Context(), batch(h.changes[:2]...)))
	server.Kill()
	if err := b.store.Apply(t.Context(), batch(h.changes[2:]...)); err == nil {
		t.Fatalf("a batch was done without MongoDB")
	}
	server.Start()
	await(t, "MongoDB takes the batch", func() bool {
		return b.store.Apply(t.Context(), batch(h.changes[2:]...)) == nil
	})
	doc, _ := b.document(t, "u1")
	same(t, "the document", doc, h.newest())
}

func TestWhoeverGivesUpLeavesTheOthersTheirWrites(t *testing.T) {
	sent := &commands{}
	b := setupOn(t, enginetest.Mongo(t), sent.monitor())
	started, release := make(chan struct{}, 10), make(chan struct{})
	sent.before = func(name string) {
		if name == "find" {
			started <- struct{}{}
			<-release
		}
	}
	results := map[string]chan error{"a": make(chan error, 1), "b": make(chan error, 1), "c": make(chan error, 1), "d": make(chan error, 1)}
	apply := func(ctx context.Context, user string) {
		go func() { results[user] <- b.store.Apply(ctx, batch(story(user, 2).changes...)) }()
	}
	taken, leave := context.WithCancel(t.Context())
	apply(taken, "a")
	<-started
	apply(t.Context(), "b")
	<-started
	apply(taken, "c")
	apply(t.Context(), "d")
	await(t, "two wait", func() bool { return b.waiting(t) == 2 })
	leave()
	for _, user := range []string{"a", "c"} {
		if err := <-results[user]; !errors.Is(err, context.Canceled) {
			t.Errorf("%s gave up: %v", user, err)
		}
	}
	close(release)
	for _, user := range []string{"b", "d"} {
		must(t, <-results[user])
		if _, ok := b.document(t, user); !ok {
			t.Errorf("%s was not written", user)
		}
	}
	if _, ok := b.document(t, "c"); ok {
		t.Errorf("what c gave up before it began was written")
	}
}

// await polls until the claim holds.
func await(t *testing.T, claim string, holds func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it never became true that %s", claim)
		}
	}
}
