package cart_test

import (
	"fmt"
	"testing"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
)

func TestEveryUserWithACartIsGoneOver(t *testing.T) {
	s := open(t, func(o *cart.Options) { o.Shards = 16 }, enginetest.Redis(t))
	raise(t, s, cart.Ready)
	goesOver(t, s)
}

// goesOver fails the test where Users doesn't go over all carts, once each while nothing changes.
func goesOver(t *testing.T, s *cart.Store) {
	t.Helper()
	want := map[string]bool{}
	for u := range 300 {
		r := cart.Request{User: fmt.Sprintf("u:c:%d", u)}
		want[r.User] = true
		do(t, func() (cart.Result, error) { return s.Add(t.Context(), r, "emma", 1) })
	}
	if _, _, err := s.Users(t.Context(), "nonsense", 10); err == nil {
		t.Error("a cursor that is none was taken")
	}
	seen := map[string]bool{}
	for cursor := ""; ; {
		users, next, err := s.Users(t.Context(), cursor, 50)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range users {
			if !want[u] {
				t.Errorf("%s has no cart", u)
			}
			seen[u] = true
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	if len(seen) != len(want) {
		t.Errorf("%d users of %d", len(seen), len(want))
	}
}
