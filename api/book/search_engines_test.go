//go:build engines

package book_test

import (
	"fmt"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/api/book"
	"cartstream/deploy/enginetest"
)

func TestASearchReadsTheIndexOfWords(t *testing.T) {
	if !enginetest.Real() {
		t.Fatal("FerretDB 1 has no indexes: this needs CARTSTREAM_ENGINES=real")
	}
	b := setup(t)
	b.run(b.store)
	await(t, "the indexes are there", func() bool {
		found, err := b.db.Collection("books").Indexes().ListSpecifications(t.Context())
		return err == nil && len(found) == 6
	})
	for i := range 200 {
		b.create(fmt.Sprintf("b%d", i), book.Draft{Title: fmt.Sprintf("Volume %d", i), Author: "Various"})
	}
	var plan bson.M
	must(t, b.db.RunCommand(t.Context(), bson.D{{Key: "explain", Value: bson.D{
		{Key: "find", Value: "books"},
		{Key: "filter", Value: bson.D{{Key: "$and", Value: bson.A{
			bson.D{{Key: "words", Value: bson.Regex{Pattern: "^vol"}}},
			bson.D{{Key: "words", Value: bson.Regex{Pattern: "^17"}}},
		}}}},
	}}}).Decode(&plan))
	text, err := bson.MarshalExtJSON(plan, false, false)
	must(t, err)
	if !strings.Contains(string(text), `"words_1"`) {
		t.Errorf("the plan reads no index of words: %s", text)
	}
}
