package persist_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

func TestABatchIsOneFindAndOneWriteADocument(t *testing.T) {
	sent := &commands{}
	b := setupOn(t, enginetest.Mongo(t), sent.monitor())
	var all []schemas.CartChanged
	for u := range 20 {
		all = append(all, story(fmt.Sprintf("u%d", u), 30).changes...)
	}
	must(t, b.store.Apply(t.Context(), batch(all...)))
	if got := sent.statements("find"); !slices.Equal(got, []int{1}) {
		t.Errorf("finds: %v, want one", got)
	}
	if got := sent.statements("update"); !slices.Equal(got, []int{20}) {
		t.Errorf("statements of each update: %v, want 20 in one", got)
	}
	must(t, b.store.Apply(t.Context(), batch(all...)))
	if got := sent.statements("update"); len(got) != 1 {
		t.Errorf("a repeated batch was written again: %v", got)
	}
}

func TestPartitionsThatWaitTogetherShareABulkWrite(t *testing.T) {
	sent := &commands{}
	b := setupOn(t, enginetest.Mongo(t), sent.monitor())
	started, release := make(chan struct{}, 100), make(chan struct{})
	sent.before = func(name string) {
		if name == "update" {
			started <- struct{}{}
			<-release
		}
	}
	var partitions sync.WaitGroup
	apply := func(user string) {
		partitions.Go(func() {
			if err := b.store.Apply(t.Context(), batch(story(user, 3).changes...)); err != nil {
				t.Errorf("%s: %v", user, err)
			}
		})
	}
	apply("first")
	<-started
	apply("second")
	<-started // both that MongoDB takes at once are on their way
	for i := range 14 {
		apply(fmt.Sprintf("later%d", i))
	}
	await(t, "all partitions wait", func() bool { return b.waiting(t) == 14 })
	close(release)
	partitions.Wait()
	got := sent.statements("update")
	if total := sum(got); total != 16 || len(got) != 3 {
		t.Errorf("statements of each update: %v, want 1, 1 and 14", got)
	}
}

func sum(n []int) (total int) {
	for _, v := range n {
		total += v
	}
	return total
}

func TestAnInsertThatLosesTheRaceStillWinsByVersion(t *testing.T) {
	h := story("late", 10)
	for claim, c := range map[string]struct{ meanwhile, later, want int }{
		"over an older document":                         {meanwhile: 2, want: 5},
		"not over the same one":                          {meanwhile: 5, want: 5},
		"not over a newer one":                           {meanwhile: 9, want: 9},
		"over one that was newer only when it was tried": {meanwhile: 9, later: 2, want: 5},
	} {
		t.Run(claim, func(t *testing.T) {
			sent := &commands{}
			b := setupOn(t, enginetest.Mongo(t), sent.monitor())
			sent.before = func(name string) {
				switch {
				case name == "update" && len(sent.statements("update")) == 1: // between the find and the insert
					b.put(t, h.after[c.meanwhile-1])
				case name == "find" && len(sent.statements("find")) == 2 && c.later > 0:
					b.put(t, h.after[c.later-1])
				}
			}
			// Others in the same bulk write, before it and after it, take no harm.
			changes := slices.Concat(story("before", 3).changes, h.changes[:5], story("after", 3).changes)
			must(t, b.store.Apply(t.Context(), batch(changes...)))
			doc, _ := b.document(t, "late")
			same(t, "the document", doc, h.after[c.want-1])
			for _, user := range []string{"before", "after"} {
				doc, _ := b.document(t, user)
				same(t, user, doc, story(user, 3).newest())
			}
		})
	}
}

func TestTheLargestCartsGoInSeveralBulkWrites(t *testing.T) {
	sent := &commands{}
	b := setupOn(t, enginetest.Mongo(t), sent.monitor())
	var changes []schemas.CartChanged
	for u := range 5 {
		changes = append(changes, largest(fmt.Sprintf("u%d", u)))
	}
	must(t, b.store.Apply(t.Context(), batch(changes...)))
	if got := sent.statements("update"); len(got) < 2 || sum(got) != len(changes) {
		t.Errorf("statements of each update: %v, want %d in several", got, len(changes))
	}
	doc, _ := b.document(t, "u4")
	var want schemas.Cart
	want.Apply(changes[4])
	same(t, "the largest cart", doc, want)
}

// largest is a cart with all that the limits allow: 500 lines, 500 four-byte characters a title.
func largest(user string) schemas.CartChanged {
	c := schemas.CartChanged{
		UserID: user, Epoch: 1, Version: 1, Type: schemas.Restored, Whole: true, Currency: "EUR",
		OccurredAt: schemas.Milliseconds(1_700_000_000_000),
	}
	for i := range 500 {
		c.Items = append(c.Items, schemas.Line{
			BookID: fmt.Sprintf("b%d", i), Title: strings.Repeat("📚", 500), UnitPrice: 999_999_999, Quantity: 999,
			LineTotal: 999_999_999 * 999, Availability: schemas.Available,
		})
	}
	c.Totals = schemas.Sum(c.Items)
	return c
}
