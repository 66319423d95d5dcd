package book_test

import "testing"

// FerretDB 1 breaks the connection when one call creates several indexes that exist already.
func TestAStartCreatesWhatIndexIsMissingBesideThoseThatExist(t *testing.T) {
	b := setup(t)
	indexes := b.db.Collection("books").Indexes()
	allThere := func() bool {
		found, err := indexes.ListSpecifications(t.Context())
		return err == nil && len(found) == 6
	}
	stop := b.run(b.store)
	await(t, "the indexes are there", allThere)
	stop()
	must(t, indexes.DropOne(t.Context(), "changedAt_1"))

	b.run(b.instance(b.kafka))
	await(t, "the indexes are there again", allThere)
}
