package schemas

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var scanned = CartChanged{UserID: "u1", Epoch: 1795341600000, Version: 7, Type: ItemAdded, Items: []Line{
	{BookID: "emma", Title: "Emma", UnitPrice: 1299, Quantity: 2, LineTotal: 2598, Availability: Available},
	{BookID: "zorn", Title: "Zorn und Müßiggang", UnitPrice: 999, PreviousUnitPrice: new(int64), Quantity: 1, LineTotal: 999, Availability: OutOfStock},
}, Totals: Totals{2598, 2, 2}, Currency: "EUR", OccurredAt: Milliseconds(1795341600001)}

func cartOf(c CartChanged) Cart {
	return Cart{UserID: c.UserID, Epoch: c.Epoch, Version: c.Version, Currency: c.Currency, Items: c.Items, Totals: c.Totals, UpdatedAt: &c.OccurredAt}
}

func TestWhatIsEncodedIsScanned(t *testing.T) {
	never := cartOf(CartChanged{UserID: "u2", Items: []Line{}})
	never.UpdatedAt = nil
	for claim, c := range map[string]CartChanged{
		"lines":    scanned,
		"no lines": {UserID: "u", Epoch: -1, Version: 999999999999999999, Type: Cleared, Whole: true, Items: []Line{}, OccurredAt: Milliseconds(951782400000)},
		"no list":  {UserID: "u", Type: Restored},
		"escapes":  {UserID: "u", Type: ItemSet, Items: []Line{{Title: "War & \"Peace\" <1>\\", Availability: Available}, {Title: "\u2028", Availability: Available}}},
	} {
		t.Run(claim, func(t *testing.T) {
			var change CartChanged
			if !scanCartChanged(EncodeCartChanged(c), &change) || !reflect.DeepEqual(change, c) {
				t.Errorf("got %+v, want %+v", change, c)
			}
			for _, want := range []Cart{cartOf(c), never} {
				var cart Cart
				if !scanCart(EncodeCart(want), &cart) || !reflect.DeepEqual(cart, want) {
					t.Errorf("got %+v, want %+v", cart, want)
				}
			}
		})
	}
}

// Whatever is made of the bytes: what is scanned is what encoding/json reads.
func TestWhatIsScannedIsWhatEncodingJSONReads(t *testing.T) {
	pieces := []string{`"`, `\"`, `\u00e4`, `,`, `{`, `}`, `[`, `]`, `0`, `-`, `1e3`, `.5`, ` `, "\n", "\xff", "ä", `null`, `true`, `"items":[]`,
		`,"epoch":5`, `"2027-02-30T00:00:00.000Z"`, `"2027-02-28T24:00:00.000Z"`, `99999999999999999999`}
	rapid.Check(t, func(t *rapid.T) {
		c := scanned
		c.OccurredAt = Milliseconds(rapid.Int64Range(-62135596800000, 253402300799999).Draw(t, "at"))
		text := EncodeCartChanged(c)
		isCart := rapid.Bool().Draw(t, "a cart")
		if isCart {
			text = EncodeCart(cartOf(c))
		}
		for range rapid.IntRange(0, 2).Draw(t, "edits") {
			from := rapid.IntRange(0, len(text)).Draw(t, "from")
			to := min(len(text), from+rapid.IntRange(0, 24).Draw(t, "without"))
			text = slices.Concat(text[:from], []byte(rapid.SampledFrom(append(pieces, "")).Draw(t, "with")), text[to:])
		}
		check := func(read bool, got, want any) {
			if !read {
				return
			}
			if err := json.Unmarshal(text, want); err != nil {
				t.Fatalf("%s is scanned, and refused by encoding/json: %v", text, err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s\nis scanned as %+v\nand read as   %+v", text, got, want)
			}
		}
		if isCart {
			var cart Cart
			check(scanCart(text, &cart), &cart, &Cart{})
		} else {
			var change CartChanged
			check(scanCartChanged(text, &change), &change, &CartChanged{})
		}
	})
}

func BenchmarkDecodeCartChanged(b *testing.B) {
	one := scanned
	one.Items = one.Items[:1]
	text := EncodeCartChanged(one)
	b.Run("scanned", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeCartChanged(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var c CartChanged
			if err := json.Unmarshal(text, &c); err != nil {
				b.Fatal(err)
			}
		}
	})
}
