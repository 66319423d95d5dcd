package persist_test

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/schemas"
)

// What backups, reports and recovery read.
func TestADocumentIsTheCartWithInt64NumbersAndDates(t *testing.T) {
	b := setup(t)
	previous := int64(1100)
	change := schemas.CartChanged{
		UserID: "u1", Epoch: 1_700_000_000_000, Version: 1, Type: schemas.ItemAdded, Whole: true, Currency: "EUR",
		OccurredAt: schemas.Milliseconds(1_700_000_000_123),
		Items: []schemas.Line{{
			BookID: "b1", Title: "Emma\x00 “and” 📚", UnitPrice: 1299, PreviousUnitPrice: &previous, Quantity: 2,
			LineTotal: 2598, Availability: schemas.Available,
		}},
		Totals: schemas.Totals{TotalAmount: 2598, TotalQuantity: 2, LineCount: 1},
	}
	cleared := schemas.CartChanged{
		UserID: "u2", Epoch: 5, Version: 1, Type: schemas.Cleared, Whole: true, Currency: "EUR",
		Items: []schemas.Line{}, OccurredAt: change.OccurredAt,
	}
	must(t, b.store.Apply(t.Context(), batch(change, cleared)))

	for path, want := range map[string]bson.Type{
		"_id": bson.TypeString, "epoch": bson.TypeInt64, "version": bson.TypeInt64, "currency": bson.TypeString,
		"items": bson.TypeArray, "totalAmount": bson.TypeInt64, "totalQuantity": bson.TypeInt64,
		"lineCount": bson.TypeInt64, "updatedAt": bson.TypeDateTime,
	} {
		for _, user := range []string{"u1", "u2"} {
			if got := b.raw(t, user).Lookup(path).Type; got != want {
				t.Errorf("%s of %s is a %s, want %s", path, user, got, want)
			}
		}
	}
	for path, want := range map[string]bson.Type{
		"bookId": bson.TypeString, "title": bson.TypeString, "unitPrice": bson.TypeInt64,
		"previousUnitPrice": bson.TypeInt64, "quantity": bson.TypeInt64, "lineTotal": bson.TypeInt64,
		"availability": bson.TypeString,
	} {
		if got := b.raw(t, "u1").Lookup("items", "0", path).Type; got != want {
			t.Errorf("%s of a line is a %s, want %s", path, got, want)
		}
	}
	if _, err := b.raw(t, "u1").LookupErr("userId"); err == nil {
		t.Errorf("the user's id is there twice")
	}
	doc, _ := b.document(t, "u1")
	var want schemas.Cart
	want.Apply(change)
	same(t, "the cart", doc, want)
}

func (b *bundle) raw(t require, user string) bson.Raw {
	t.Helper()
	raw, err := b.carts.FindOne(t.Context(), bson.D{{Key: "_id", Value: user}}).Raw()
	must(t, err)
	return raw
}
