package reconcile

import (
	"fmt"
	"testing"
)

func TestWhoHasADocumentIsRemembered(t *testing.T) {
	const n = 50_000
	s := newStored(n)
	for i := range n {
		s.add(fmt.Sprint("u", i))
	}
	wrong := 0
	for i := range n {
		if !s.has(fmt.Sprint("u", i)) {
			t.Fatalf("u%d is forgotten", i)
		}
		if s.has(fmt.Sprint("nobody", i)) {
			wrong++
		}
	}
	if wrong > n/200 {
		t.Errorf("%d of %d who have none seem to have one", wrong, n)
	}
}

// Were it filled beyond its room, it would seem to know everybody.
func TestWhoeverFindsNoRoomIsAskedAbout(t *testing.T) {
	s := newStored(0)
	for i := range 100 * leastWords {
		s.add(fmt.Sprint("u", i))
	}
	seem := 0
	for i := range 10_000 {
		if s.has(fmt.Sprint("nobody", i)) {
			seem++
		}
	}
	if seem > 500 {
		t.Errorf("%d of 10000 seem to have a document", seem)
	}
}
