package reconcile

import (
	"fmt"
	"testing"
)

func TestWhoHasADocumentIsRememberedAndNobodyElse(t *testing.T) {
	const n = 50_000
	s := newStored(n)
	for i := range n {
		s.add(fmt.Sprint("u", i))
	}
	for i := range n {
		if !s.has(fmt.Sprint("u", i)) {
			t.Fatalf("u%d is forgotten", i)
		}
		if s.has(fmt.Sprint("nobody", i)) {
			t.Errorf("nobody%d seems to have a document, which would go unhealed", i)
		}
	}
}

func TestWhoeverFindsNoRoomIsAskedAbout(t *testing.T) {
	s := newStored(10)
	for i := range 20 {
		s.add(fmt.Sprint("u", i))
	}
	for i := range 20 {
		if user := fmt.Sprint("u", i); s.has(user) != (i < 10) {
			t.Errorf("%s: %t", user, s.has(user))
		}
	}
}
