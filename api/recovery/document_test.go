package recovery

import (
	"reflect"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/schemas"
)

func TestAStoredCartIsReadAsTheDriverReadsIt(t *testing.T) {
	at, price := schemas.Milliseconds(1700000000123), int64(999)
	whole := schemas.Cart{UserID: "u1", Epoch: 7, Version: 41, Currency: "EUR", UpdatedAt: &at, Items: []schemas.Line{
		{BookID: "emma", Title: "Emma", UnitPrice: 1299, PreviousUnitPrice: &price, Quantity: 2, LineTotal: 2598, Availability: schemas.Available},
		{BookID: "zadig", Title: "Zadig", UnitPrice: 500, Quantity: 1, LineTotal: 500, Availability: schemas.Discontinued},
	}}
	whole.Totals = schemas.Sum(whole.Items)
	for claim, c := range map[string]struct {
		document any
		written  bool // as persist does
	}{
		"with all fields":             {whole, true},
		"with an empty list of lines": {schemas.Cart{UserID: "u1", Version: 3, Items: []schemas.Line{}}, true},
		"with a field of somebody else": {bson.D{{Key: "_id", Value: "u1"}, {Key: "version", Value: int64(2)},
			{Key: "note", Value: "mine"}, {Key: "items", Value: bson.A{bson.D{{Key: "bookId", Value: "emma"}, {Key: "note", Value: 1}}}}}, true},
		"with numbers of another type": {bson.D{{Key: "_id", Value: "u1"}, {Key: "epoch", Value: 7.0}, {Key: "version", Value: int32(2)},
			{Key: "items", Value: bson.A{bson.D{{Key: "bookId", Value: "emma"}, {Key: "quantity", Value: int32(2)}}}}}, false},
		"without lines":            {bson.D{{Key: "_id", Value: "u1"}, {Key: "items", Value: nil}}, false},
		"with a version in words":  {bson.D{{Key: "_id", Value: "u1"}, {Key: "version", Value: "two"}}, false},
		"with a line in words":     {bson.D{{Key: "_id", Value: "u1"}, {Key: "items", Value: bson.A{"emma"}}}, false},
		"with a time that is none": {bson.D{{Key: "_id", Value: "u1"}, {Key: "updatedAt", Value: "noon"}}, false},
	} {
		t.Run(claim, func(t *testing.T) {
			document, err := bson.Marshal(c.document)
			if err != nil {
				t.Fatal(err)
			}
			var want schemas.Cart
			refused := bson.Unmarshal(document, &want)
			got, err := decodeCart(document)
			if (err == nil) != (refused == nil) || err == nil && !reflect.DeepEqual(got, want) {
				t.Errorf("%+v, %v instead of %+v, %v", got, err, want, refused)
			}
			if _, byHand := decodeWritten(document); byHand != c.written {
				t.Errorf("read by hand: %v", byHand)
			}
		})
	}
}

func BenchmarkDecodeCart(b *testing.B) {
	at := schemas.Milliseconds(1700000000123)
	document, err := bson.Marshal(schemas.Cart{UserID: "u1", Epoch: 7, Version: 41, Currency: "EUR", UpdatedAt: &at, Items: []schemas.Line{
		{BookID: "emma", Title: "Emma", UnitPrice: 1299, Quantity: 2, LineTotal: 2598, Availability: schemas.Available}}})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("by hand", func(b *testing.B) {
		for b.Loop() {
			_, _ = decodeWritten(document)
		}
	})
	b.Run("by the driver", func(b *testing.B) {
		for b.Loop() {
			var c schemas.Cart
			_ = bson.Unmarshal(document, &c)
		}
	})
}
