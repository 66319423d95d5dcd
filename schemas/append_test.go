package schemas_test

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cartstream/schemas"
)

// anyText also has what JSON writes in another way than as it is.
func anyText(t *rapid.T, name string) string {
	if rapid.Bool().Draw(t, name+" is any") {
		return rapid.String().Draw(t, name)
	}
	return string(rapid.SliceOfN(rapid.SampledFrom([]byte("az09 .:@-_<>&\"\\/\x00\x1f\t\n\x7f\xc3\xa4\xe2\x80\xa8\xff")), 0, 12).Draw(t, name))
}

func anyTime(t *rapid.T, name string) schemas.Time {
	return schemas.Milliseconds(rapid.OneOf(rapid.Int64Range(-62135596800000, 253402300799999), rapid.Int64Range(1795341600000, 1795341700000)).Draw(t, name))
}

func anyLines(t *rapid.T) []schemas.Line {
	if rapid.IntRange(0, 9).Draw(t, "no list") == 0 {
		return nil
	}
	lines := []schemas.Line{}
	for range rapid.IntRange(0, 4).Draw(t, "lines") {
		l := schemas.Line{BookID: anyText(t, "book"), Title: anyText(t, "title"), UnitPrice: rapid.Int64().Draw(t, "price"),
			Quantity: rapid.Int64().Draw(t, "quantity"), LineTotal: rapid.Int64().Draw(t, "total"),
			Availability: schemas.Availability(anyText(t, "availability"))}
		if rapid.Bool().Draw(t, "has a previous price") {
			previous := rapid.Int64().Draw(t, "previous")
			l.PreviousUnitPrice = &previous
		}
		lines = append(lines, l)
	}
	return lines
}

func TestCartsAndChangesAreTheBytesThatEncodingJSONWrites(t *testing.T) {
	same := func(t *rapid.T, value any, got []byte) {
		want, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Fatalf("got  %q\nwant %q", got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		totals := schemas.Totals{TotalAmount: rapid.Int64().Draw(t, "amount"), TotalQuantity: rapid.Int64().Draw(t, "quantities"), LineCount: rapid.Int64().Draw(t, "count")}
		change := schemas.CartChanged{UserID: anyText(t, "user"), Epoch: rapid.Int64().Draw(t, "epoch"), Version: rapid.Int64().Draw(t, "version"),
			Type: schemas.EventType(anyText(t, "type")), Whole: rapid.Bool().Draw(t, "whole"), Items: anyLines(t), Totals: totals,
			Currency: anyText(t, "currency"), OccurredAt: anyTime(t, "at")}
		same(t, change, schemas.EncodeCartChanged(change))
		cart := schemas.Cart{UserID: change.UserID, Epoch: change.Epoch, Version: change.Version, Currency: change.Currency,
			Items: change.Items, Totals: totals}
		if rapid.Bool().Draw(t, "was ever changed") {
			at := anyTime(t, "updated")
			cart.UpdatedAt = &at
		}
		same(t, cart, schemas.EncodeCart(cart))
	})
}

func TestATimeIsTheSameTextEverywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := anyTime(t, "at")
		if got, want := at.String(), at.UTC().Format("2006-01-02T15:04:05.000Z"); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		elsewhere := schemas.Time{Time: at.In(time.FixedZone("", 3600))}
		if elsewhere.String() != at.String() {
			t.Fatalf("%s in another zone is %s", at, elsewhere)
		}
	})
}
