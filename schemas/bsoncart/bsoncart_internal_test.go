package bsoncart

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/schemas"
)

func written(t testing.TB, lines int) (schemas.Cart, bson.Raw) {
	t.Helper()
	at, was := schemas.Milliseconds(1_700_000_000_000), int64(5)
	c := schemas.Cart{UserID: "u1", Epoch: 7, Version: 3, Currency: "EUR", Items: []schemas.Line{}, UpdatedAt: &at}
	for i := range lines {
		c.Items = append(c.Items, schemas.Line{BookID: fmt.Sprint("b", i), Title: "Émma \x1e", UnitPrice: 9, Quantity: int64(i), LineTotal: 9 * int64(i),
			Availability: schemas.Available})
	}
	if lines > 0 {
		c.Items[0].PreviousUnitPrice = &was
	}
	c.Totals = schemas.Sum(c.Items)
	raw, err := bson.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return c, raw
}

func TestADocumentIsReadAsTheDriverReadsIt(t *testing.T) {
	usual := []string{"as it is written", "with an empty list of lines", "with fields that nobody knows", "without a time", "without lines", "without a version"}
	for claim, edit := range map[string]func(d map[string]any, first map[string]any){
		"as it is written":              func(_, _ map[string]any) {},
		"with an empty list of lines":   func(d, _ map[string]any) { d["items"] = bson.A{} },
		"with fields that nobody knows": func(d, l map[string]any) { d["x"], l["y"] = bson.A{1}, "z" },
		"with numbers of 32 bits":       func(d, l map[string]any) { d["version"], l["quantity"] = int32(3), int32(4) },
		"with numbers that are doubles": func(d, _ map[string]any) { d["totalAmount"] = 4.0 },
		"with half a cent":              func(d, _ map[string]any) { d["totalAmount"] = 4.5 },
		"with nothing for a price":      func(_, l map[string]any) { l["previousUnitPrice"] = nil },
		"with nothing for lines":        func(d, _ map[string]any) { d["items"] = nil },
		"with text for lines":           func(d, _ map[string]any) { d["items"] = "none" },
		"with a line that is none":      func(d, _ map[string]any) { d["items"] = bson.A{1} },
		"with text for a time":          func(d, _ map[string]any) { d["updatedAt"] = "now" },
		"without a time":                func(d, _ map[string]any) { delete(d, "updatedAt") },
		"without lines":                 func(d, _ map[string]any) { delete(d, "items") },
		"without a version":             func(d, _ map[string]any) { delete(d, "version") },
	} {
		t.Run(claim, func(t *testing.T) {
			_, raw := written(t, 2)
			var d map[string]any
			if err := bson.Unmarshal(raw, &d); err != nil {
				t.Fatal(err)
			}
			var line map[string]any
			first, err := bson.Marshal(d["items"].(bson.A)[0])
			if err == nil {
				err = bson.Unmarshal(first, &line)
			}
			if err != nil {
				t.Fatal(err)
			}
			edit(d, line)
			if items, ok := d["items"].(bson.A); ok && len(items) > 1 {
				items[0] = line
			}
			if raw, err = bson.Marshal(d); err != nil {
				t.Fatal(err)
			}
			var want schemas.Cart
			refused := bson.Unmarshal(raw, &want)
			for _, got := range []schemas.Cart{{}, {Items: make([]schemas.Line, 3)}} { // without room for lines, and with
				err := Decode(raw, &got)
				if got.Items != nil && len(got.Items) == 0 && want.Items == nil {
					got.Items = nil
				}
				if (err == nil) != (refused == nil) || err == nil && !reflect.DeepEqual(got, want) {
					t.Errorf("read %+v, %v; the driver %+v, %v", got, err, want, refused)
				}
				if slices.Contains(usual, claim) != decodeWritten(raw, &got) {
					t.Error("read by hand, or not")
				}
			}
		})
	}
}

func TestABrokenDocumentIsRefused(t *testing.T) {
	_, raw := written(t, 2)
	for n := range raw {
		var c schemas.Cart
		if decodeWritten(raw[:n], &c) || Decode(raw[:n], &c) == nil {
			t.Errorf("%d of %d bytes are read as a cart", n, len(raw))
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	_, raw := written(b, 1)
	for name, read := range map[string]func(c *schemas.Cart){
		"by hand":       func(c *schemas.Cart) { _ = Decode(raw, c) },
		"by the driver": func(c *schemas.Cart) { _ = bson.Unmarshal(raw, c) },
	} {
		b.Run(name, func(b *testing.B) {
			var c schemas.Cart
			for b.Loop() {
				read(&c)
			}
		})
	}
}
