package book_test

import (
	"encoding/json"
	"os"
	"testing"

	"cartstream/api/book"
	"cartstream/schemas"
)

func TestTheSampleCatalogueIsValid(t *testing.T) {
	text, err := os.ReadFile("../../deploy/stack/books.json")
	must(t, err)
	var books []struct {
		BookID, Title, Author, ISBN string
		UnitPrice, Stock            int64
	}
	must(t, json.Unmarshal(text, &books))
	ids, soldOut := map[string]bool{}, 0
	for _, b := range books {
		d := book.Draft{Title: b.Title, Author: b.Author, ISBN: b.ISBN, UnitPrice: b.UnitPrice, Stock: b.Stock}
		if faults := d.Validate(); len(faults) > 0 || !schemas.ValidID(b.BookID) || ids[b.BookID] || b.UnitPrice == 0 {
			t.Errorf("%+v: %v", b, faults)
		}
		ids[b.BookID] = true
		if b.Stock == 0 {
			soldOut++
		}
	}
	if len(books) < 300 || soldOut == 0 || !ids["emma"] {
		t.Errorf("%d books, %d of them sold out", len(books), soldOut)
	}
}
