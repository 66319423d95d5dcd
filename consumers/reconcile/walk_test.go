package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"
)

// Where every cart differs, each page would otherwise wait for the look after its own.
func TestARunGoesOnWhileCartsWaitToBeLookedAtAgain(t *testing.T) {
	b := setup(t)
	const pages, page = 6, 8
	for i := range pages * page {
		b.add(fmt.Sprintf("u%02d", i), "b1", "b2")
	}
	b.relay()
	for i := range pages * page {
		b.add(fmt.Sprintf("u%02d", i), "b3")
	}
	b.Page(page)
	b.LookAgainAfter = time.Hour
	ctx, kill := context.WithCancel(t.Context())
	var pagesSeen atomic.Int64
	b.carts.before = func(what string) error {
		if what == "digests" && pagesSeen.Add(1) > (pages-1)*shards { // so the last page is being looked at
			kill()
		}
		return nil
	}
	if _, err := b.All(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("killed: %v", err)
	}
	if b.drift() != 0 {
		t.Errorf("healed before the second look: %s", b.log)
	}
	b.carts.before = nil
	b.restart()
	b.Page(page)
	n, err := b.All(t.Context())
	must(t, err)
	if n != pages*page || b.drift() != pages*page {
		t.Errorf("the next run compared %d carts and found %d that differ, want all of both", n, b.drift())
	}
	for i := range pages * page {
		b.equal(fmt.Sprintf("u%02d", i))
	}
}
