//go:build engines

package persist_test

import (
	"fmt"
	"slices"
	"testing"

	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// On the embedded engine, which looks at every document for each statement, this takes a minute.
func TestMoreDocumentsThanABulkWriteTakesGoInSeveral(t *testing.T) {
	sent := &commands{}
	b := setupOn(t, enginetest.Mongo(t), sent.monitor())
	var all []schemas.CartChanged
	for u := range 1001 {
		all = append(all, story(fmt.Sprintf("u%d", u), 1).changes...)
	}
	must(t, b.store.Apply(t.Context(), batch(all...)))
	got := sent.statements("update")
	slices.Sort(got)
	if !slices.Equal(got, []int{1, 1000}) {
		t.Errorf("statements of each update: %v, want 1,000 and 1", got)
	}
}
