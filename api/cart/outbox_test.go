package cart_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// wanted wants every shard's lease.
func wanted(s *cart.Store) []schemas.ShardWish {
	return slices.Repeat([]schemas.ShardWish{{Lease: true, Offset: -1}}, s.Shards())
}

func beat(t *testing.T, s *cart.Store, instance string, ttl time.Duration, wishes []schemas.ShardWish) []schemas.ShardLease {
	t.Helper()
	leases, err := s.Beat(t.Context(), instance, ttl, wishes)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases {
		if l.Err != nil {
			t.Fatal(l.Err)
		}
	}
	return leases
}

func TestAShardKeepsTheOffsetThatItsOwnerTells(t *testing.T) {
	s := setup(t)
	shard := s.ShardOf("u1")
	tell := func(instance string, offset int64) {
		t.Helper()
		wishes := wanted(s)
		wishes[shard].Offset = offset
		beat(t, s, instance, time.Minute, wishes)
	}
	for _, c := range []struct {
		claim, instance string
		offset, want    int64 // -1 for none
	}{
		{"none at first", "one", -1, -1},
		{"the first", "one", 0, 0},
		{"a later one", "one", 7, 7},
		{"no news changes nothing", "one", -1, 7},
		{"nor does who isn't the owner", "two", 9, 7},
		{"nor can that make it forget", "two", schemas.OffsetForgotten, 7},
		{"none, once it is told to forget", "one", schemas.OffsetForgotten, -1},
		{"one of the topic made anew", "one", 3, 3},
	} {
		tell(c.instance, c.offset)
		kept := int64(-1)
		for _, n := range s.Nodes(t.Context()) {
			tails, err := n.Tails(t.Context(), []int{shard})
			if err != nil {
				t.Fatal(err)
			}
			if offset, known := tails[shard]; known {
				kept = offset
			}
			_ = n.Close()
		}
		if kept != c.want {
			t.Errorf("%s: the shard holds %d, want %d", c.claim, kept, c.want)
		}
	}
}

func TestALeaseHasOneOwner(t *testing.T) {
	s := setup(t)
	const ttl = 300 * time.Millisecond
	none := make([]schemas.ShardWish, s.Shards())
	mine := beat(t, s, "one", ttl, wanted(s))
	theirs := beat(t, s, "two", ttl, wanted(s))
	if !mine[0].Owned || theirs[0].Owned || theirs[0].Owner != "one" || !slices.Equal(theirs[0].Members, []string{"one", "two"}) {
		t.Fatalf("one got %+v, two %+v", mine[0], theirs[0])
	}
	if again := beat(t, s, "one", ttl, wanted(s)); again[0].Token != mine[0].Token {
		t.Fatalf("a kept lease changed its token: %d, then %d", mine[0].Token, again[0].Token)
	}
	beat(t, s, "one", ttl, none)
	theirs = beat(t, s, "two", ttl, wanted(s))
	if !theirs[0].Owned || theirs[0].Token <= mine[0].Token {
		t.Fatalf("a lease that was given up: %+v, want two's with a token above %d", theirs[0], mine[0].Token)
	}
	deadline := time.Now().Add(5 * time.Second)
	for again := theirs; !again[0].Owned || again[0].Owner != "one"; again = beat(t, s, "one", ttl, wanted(s)) {
		if time.Now().After(deadline) {
			t.Fatal("the lease of an instance that is silent was never free")
		}
	}
	beat(t, s, "one", 0, none)
	if left := beat(t, s, "two", ttl, wanted(s)); !left[0].Owned || !slices.Equal(left[0].Members, []string{"two"}) {
		t.Fatalf("after one has left: %+v", left[0])
	}
}

// fill makes n changes of one cart and returns its shard and what waits there.
func fill(t *testing.T, s *cart.Store, user string, n int) (int, []schemas.OutboxEntry) {
	t.Helper()
	for i := range n {
		if _, err := s.Set(t.Context(), cart.Request{User: user}, "emma", int64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := cart.Backlog(t.Context(), s, user)
	if err != nil || len(entries) != n {
		t.Fatalf("%d entries (%v), want %d", len(entries), err, n)
	}
	return s.ShardOf(user), entries
}

func TestOnlyTheOwnerTrims(t *testing.T) {
	s := setup(t)
	shard, entries := fill(t, s, "u1", 3)
	lease := beat(t, s, "one", time.Minute, wanted(s))[shard]
	trim := schemas.OutboxTrim{Shard: shard, Token: lease.Token, Generation: lease.Generation, UpTo: entries[1].ID}
	for claim, change := range map[string]func(*schemas.OutboxTrim){
		"another token":      func(o *schemas.OutboxTrim) { o.Token++ },
		"another generation": func(o *schemas.OutboxTrim) { o.Generation = "1:abc" },
	} {
		other := trim
		change(&other)
		if err := s.Trim(t.Context(), []schemas.OutboxTrim{other})[0]; !errors.Is(err, schemas.ErrFenced) {
			t.Errorf("%s: %v, want ErrFenced", claim, err)
		}
	}
	if all := backlog(t, s, "u1"); len(all) != 3 {
		t.Fatalf("%d entries are left, want all 3", len(all))
	}
	if err := s.Trim(t.Context(), []schemas.OutboxTrim{trim})[0]; err != nil {
		t.Fatal(err)
	}
	if left := backlog(t, s, "u1"); len(left) != 1 || left[0].ID != entries[2].ID {
		t.Fatalf("%+v is left, want the third alone", left)
	}
}

func backlog(t *testing.T, s *cart.Store, user string) []schemas.OutboxEntry {
	t.Helper()
	entries, err := cart.Backlog(t.Context(), s, user)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestAnEntryCarriesTheContractsHeaders(t *testing.T) {
	s := setup(t)
	const trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	r, err := s.Add(t.Context(), cart.Request{User: "u1", Key: "k", TraceParent: trace}, "emma", 1)
	if err != nil {
		t.Fatal(err)
	}
	entries := backlog(t, s, "u1")
	e := entries[0]
	if e.Topic != schemas.CartEvents || e.Key != "u1" || string(e.Value) != string(schemas.EncodeCartChanged(r.Change)) {
		t.Errorf("entry %+v", e)
	}
	headers := map[string]string{}
	for _, h := range e.Headers {
		headers[h.Key] = h.Value
	}
	want := map[string]string{
		"ce_specversion": "1.0", "ce_id": fmt.Sprintf("u1:%d:1", r.Change.Epoch), "ce_type": "cart.item_added", "ce_subject": "u1",
		"ce_time": r.Change.OccurredAt.String(), "content-type": "application/json", "traceparent": trace,
	}
	for name, value := range want {
		if headers[name] != value {
			t.Errorf("%s is %q, want %q", name, headers[name], value)
		}
	}
	if headers["x-idempotency"] == "" || headers["x-request"] == "" || headers["ce_source"] == "" {
		t.Errorf("headers %v lack x-idempotency, x-request or ce_source", headers)
	}
	if headers["x-idempotency"] == "k" {
		t.Error("the key itself is in the event")
	}
}

func TestACursorOfAnotherGenerationStartsAnew(t *testing.T) {
	s := setup(t)
	shard, entries := fill(t, s, "u1", 2)
	lease := beat(t, s, "one", time.Minute, wanted(s))[shard]
	cursor := schemas.OutboxCursor{Shard: shard, After: entries[1].ID, Generation: lease.Generation}
	raise(t, s, cart.Ready)
	beat(t, s, "one", time.Minute, wanted(s)) // notices
	found, err := s.ReadOutbox(t.Context(), []schemas.OutboxCursor{cursor}, time.Second, 10)
	if err != nil || len(found) != 1 || found[0].Err == nil {
		t.Fatalf("%+v, %v; want an error for the shard", found, err)
	}
	if all := backlog(t, s, "u1"); len(all) != 2 {
		t.Fatalf("from the head: %d entries, want 2", len(all))
	}
}

func TestAckKafkaWaitsForTheRelay(t *testing.T) {
	addr := enginetest.Redis(t)
	s := open(t, func(o *cart.Options) { o.AckKafka = true }, addr)
	far := open(t, nil, addr) // another instance relays
	raise(t, s, cart.Ready)
	listening, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(listening) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	type answer struct {
		cart.Result
		err error
	}
	for claim, relay := range map[string]*cart.Store{"relayed here": s, "relayed elsewhere": far} {
		t.Run(claim, func(t *testing.T) {
			user := strings.ReplaceAll(claim, " ", "-")
			done := make(chan answer, 1)
			go func() {
				r, err := s.Add(t.Context(), cart.Request{User: user}, "emma", 1)
				done <- answer{r, err}
			}()
			var entries []schemas.OutboxEntry
			for len(entries) == 0 {
				entries = backlog(t, far, user)
			}
			select {
			case a := <-done:
				t.Fatalf("answered before Kafka had it: %+v", a)
			default:
			}
			shard := s.ShardOf(user)
			lease := beat(t, relay, "relay", time.Minute, wanted(s))[shard]
			trim := schemas.OutboxTrim{Shard: shard, Token: lease.Token, Generation: lease.Generation, UpTo: entries[len(entries)-1].ID}
			if err := relay.Trim(t.Context(), []schemas.OutboxTrim{trim})[0]; err != nil {
				t.Fatal(err)
			}
			if a := <-done; a.err != nil || a.Change.Version != 1 {
				t.Fatalf("%+v", a)
			}
			again, err := s.Set(t.Context(), cart.Request{User: user}, "emma", 1) // nothing to wait for
			if err != nil || again.Change.Version != 1 {
				t.Fatalf("%+v, %v", again, err)
			}
			beat(t, relay, "relay", 0, wanted(s))
		})
	}
	t.Run("a new generation meanwhile leaves it open", func(t *testing.T) {
		done := make(chan error, 1)
		go func() {
			_, err := s.Add(t.Context(), cart.Request{User: "u9"}, "emma", 1)
			done <- err
		}()
		for {
			if entries := backlog(t, far, "u9"); len(entries) > 0 {
				break
			}
		}
		raise(t, far, cart.Ready)
		var u *cart.Unavailable
		if err := <-done; !errors.As(err, &u) || u.Applied != cart.MaybeApplied {
			t.Fatalf("%v, want unavailable with an unknown outcome", err)
		}
	})
}
