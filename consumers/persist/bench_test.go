package persist_test

import (
	"fmt"
	"sync"
	"testing"

	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// One iteration is one change of one of 2,000 carts with five lines, by 16 partitions at once.
func BenchmarkApply(b *testing.B) {
	const partitions, users = 16, 125
	bundle := setupOn(b, enginetest.Mongo(b), nil)
	perUser := b.N/(partitions*users) + 1
	var all sync.WaitGroup
	histories := make([][]*history, partitions)
	for p := range partitions {
		for u := range users {
			histories[p] = append(histories[p], story(fmt.Sprintf("p%d-u%d", p, u), 5+perUser))
		}
	}
	step := func(p, from, to int) {
		var changes []schemas.CartChanged
		for _, h := range histories[p] {
			changes = append(changes, h.changes[from:to]...)
		}
		if err := bundle.store.Apply(b.Context(), batch(changes...)); err != nil {
			b.Error(err)
		}
	}
	for p := range partitions {
		step(p, 0, 5)
	}
	b.ResetTimer()
	for p := range partitions {
		all.Go(func() {
			for v := range perUser {
				step(p, 5+v, 6+v)
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(perUser*partitions*users)/b.Elapsed().Seconds(), "changes/s")
}
