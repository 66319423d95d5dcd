package schemas_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"cartstream/schemas"
)

var (
	at    = schemas.Milliseconds(1795341600000)
	seen  = int64(1499)
	emma  = schemas.Line{BookID: "b1", Title: "Emma", UnitPrice: 1299, Quantity: 2, LineTotal: 2598, Availability: schemas.Available}
	price = schemas.Line{BookID: "b1", Title: "Emma", UnitPrice: 1299, PreviousUnitPrice: &seen, Quantity: 2, LineTotal: 2598, Availability: schemas.Available}
	gone  = schemas.Line{BookID: "faust:1", Title: "Faust. Der Tragödie <erster> Teil & \"mehr\"", UnitPrice: 999_999_999, Quantity: 999, LineTotal: 998_999_999_001, Availability: schemas.Discontinued}
	left  = schemas.Line{BookID: "b1", Title: "Emma", UnitPrice: 1299, Quantity: 0, LineTotal: 0, Availability: schemas.OutOfStock}
	one   = schemas.Totals{TotalAmount: 2598, TotalQuantity: 2, LineCount: 1}
)

// golden are the events and states as they lie in testdata, byte for byte. Downstream teams rely on these bytes: a file
// may be added, but not changed in what it already says.
var golden = map[string]struct {
	value  any
	schema string
}{
	"item_added":   {schemas.CartChanged{UserID: "u1", Epoch: 1, Version: 7, Type: schemas.ItemAdded, Items: []schemas.Line{emma}, Totals: one, Currency: "EUR", OccurredAt: at}, "cart-changed"},
	"first_change": {schemas.CartChanged{UserID: "u1", Epoch: 1, Version: 1, Type: schemas.ItemAdded, Whole: true, Items: []schemas.Line{emma}, Totals: one, Currency: "EUR", OccurredAt: at}, "cart-changed"},
	"item_removed": {schemas.CartChanged{UserID: "u1", Epoch: 1, Version: 8, Type: schemas.ItemRemoved, Items: []schemas.Line{left}, Currency: "EUR", OccurredAt: at}, "cart-changed"},
	"cleared":      {schemas.CartChanged{UserID: "u1", Epoch: 1, Version: 9, Type: schemas.Cleared, Whole: true, Items: []schemas.Line{}, Currency: "EUR", OccurredAt: at}, "cart-changed"},
	"book_changed": {schemas.CartChanged{UserID: "a:b@c.d-e_f", Epoch: 1795341600000, Version: 10, Type: schemas.BookChangedInCart, Items: []schemas.Line{price}, Totals: one, Currency: "EUR", OccurredAt: at}, "cart-changed"},
	"restored": {schemas.CartChanged{UserID: "u1", Epoch: 1795341600001, Version: 11, Type: schemas.Restored, Whole: true, Items: []schemas.Line{price, gone},
		Totals: schemas.Totals{TotalAmount: 2598, TotalQuantity: 2, LineCount: 2}, Currency: "EUR", OccurredAt: at}, "cart-changed"},
	"cart": {schemas.Cart{UserID: "u1", Epoch: 1, Version: 7, Currency: "EUR", Items: []schemas.Line{price, gone},
		Totals: schemas.Totals{TotalAmount: 2598, TotalQuantity: 2, LineCount: 2}, UpdatedAt: &at}, "cart"},
	"empty_cart":        {schemas.Cart{UserID: "u1", Epoch: 1, Currency: "EUR", Items: []schemas.Line{}}, "cart"},
	"reminder":          {schemas.Reminder{UserID: "u1", Epoch: 1, Version: 7, IdleSince: at}, "reminder"},
	"book_created":      {schemas.Book{BookID: "b1", Version: 1, Title: "Emma", Author: "Jane Austen", UnitPrice: 1299, Currency: "EUR", Stock: 3, Status: schemas.Available}.Event(schemas.BookCreated, at), "book-changed"},
	"book_discontinued": {schemas.Book{BookID: "b1", Version: 4, Title: "Emma", Author: "Jane Austen", ISBN: "9780141439587", UnitPrice: 1299, Currency: "EUR", Status: schemas.Discontinued}.Event(schemas.BookDiscontinued, at), "book-changed"},
}

// stored returns a file of testdata without the line break that editors want at its end.
func stored(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b, []byte("\n"))
}

func TestEventsKeepTheirBytes(t *testing.T) {
	t.Parallel()
	for name, tc := range golden {
		t.Run(name, func(t *testing.T) {
			want := stored(t, name)
			var (
				got     []byte
				decoded any
				err     error
			)
			switch v := tc.value.(type) {
			case schemas.CartChanged:
				got = schemas.EncodeCartChanged(v)
				decoded, err = schemas.DecodeCartChanged(want)
			case schemas.Cart:
				got = schemas.EncodeCart(v)
				decoded, err = schemas.DecodeCart(want)
			case schemas.BookChanged:
				got = schemas.EncodeBookChanged(v)
				decoded, err = schemas.DecodeBookChanged(want)
			case schemas.Reminder:
				got = schemas.EncodeReminder(v)
				decoded, err = schemas.DecodeReminder(want)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("encodes as\n%s\nwant\n%s", got, want)
			}
			if err != nil || !reflect.DeepEqual(decoded, tc.value) {
				t.Errorf("decodes as %+v, %v\nwant %+v", decoded, err, tc.value)
			}
		})
	}
}

func TestEventsAreAsTheirSchemaSays(t *testing.T) {
	t.Parallel()
	for name, tc := range golden {
		t.Run(name, func(t *testing.T) {
			if err := compile(t, tc.schema).Validate(value(t, stored(t, name))); err != nil {
				t.Error(err)
			}
		})
	}
}

// compile returns a published schema.
func compile(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(name + ".schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func value(t *testing.T, b []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// An event that some file of testdata becomes by one replacement, and whether that may still be decoded.
func TestSchemasAndDecodersRefuseWhatNobodyCouldApply(t *testing.T) {
	t.Parallel()
	for claim, tc := range map[string]struct {
		name, old, new      string
		conforms, decodable bool
	}{
		"a field that is not known yet":        {"item_added", `"epoch":1`, `"added":{"later":true},"epoch":1`, true, true},
		"a field of a line, likewise":          {"item_added", `"title"`, `"added":1,"title"`, true, true},
		"no user":                              {"item_added", `"userId":"u1",`, ``, false, false},
		"a user that can't be":                 {"item_added", `"u1"`, `"u 1"`, false, false},
		"version 0":                            {"item_added", `"version":7`, `"version":0`, true, false},
		"a negative epoch":                     {"item_added", `"epoch":1`, `"epoch":-1`, false, false},
		"a version of fractions":               {"item_added", `"version":7`, `"version":7.5`, false, false},
		"a version in quotes":                  {"item_added", `"version":7`, `"version":"7"`, false, false},
		"no type":                              {"item_added", `"type":"item_added",`, ``, false, false},
		"a type that is not known yet":         {"item_added", `"item_added"`, `"item_lent"`, false, true},
		"a negative quantity":                  {"item_added", `"quantity":2`, `"quantity":-2`, false, false},
		"a negative price":                     {"item_added", `"unitPrice":1299`, `"unitPrice":-1`, false, false},
		"a line of no book":                    {"item_added", `"bookId":"b1",`, ``, false, false},
		"lines that are no list":               {"item_added", `"items":[`, `"items":7,"was":[`, false, false},
		"an availability of another kind":      {"item_added", `"available"`, `"maybe"`, false, true},
		"a time with another number of digits": {"item_added", `.000Z`, `Z`, false, true},
		"a time that is none":                  {"item_added", `2026-11-22T10:00:00.000Z`, `yesterday`, false, false},
		"half an event":                        {"item_added", `"occurredAt":"2026-11-22T10:00:00.000Z"}`, ``, false, false},
		"a cart of no user":                    {"cart", `"u1"`, `""`, false, false},
		"a cart of version -1":                 {"cart", `"version":7`, `"version":-1`, false, false},
		"a cart with a bad line":               {"cart", `"quantity":2`, `"quantity":-2`, false, false},
		"a book of no id":                      {"book_created", `"b1"`, `""`, false, false},
		"a book of version 0":                  {"book_created", `"version":1`, `"version":0`, false, false},
		"a book of a negative price":           {"book_created", `"unitPrice":1299`, `"unitPrice":-1`, false, false},
		"a book that something happened to":    {"book_created", `"created"`, `""`, false, false},
		"a reminder of no user":                {"reminder", `"u1"`, `""`, false, false},
		"a reminder of version 0":              {"reminder", `"version":7`, `"version":0`, false, false},
		"a reminder of a cart since ever":      {"reminder", `,"idleSince":"2026-11-22T10:00:00.000Z"`, ``, false, false},
	} {
		t.Run(claim, func(t *testing.T) {
			before := string(stored(t, tc.name))
			bent := strings.Replace(before, tc.old, tc.new, 1)
			if bent == before {
				t.Fatalf("%s holds no %s", tc.name, tc.old)
			}
			var err error
			switch golden[tc.name].schema {
			case "cart-changed":
				_, err = schemas.DecodeCartChanged([]byte(bent))
			case "cart":
				_, err = schemas.DecodeCart([]byte(bent))
			case "book-changed":
				_, err = schemas.DecodeBookChanged([]byte(bent))
			case "reminder":
				_, err = schemas.DecodeReminder([]byte(bent))
			}
			if (err == nil) != tc.decodable || err != nil && !errors.Is(err, schemas.ErrMalformed) {
				t.Errorf("decoding says %v, want decodable: %v, else ErrMalformed", err, tc.decodable)
			}
			if json.Valid([]byte(bent)) {
				if err := compile(t, golden[tc.name].schema).Validate(value(t, []byte(bent))); (err == nil) != tc.conforms {
					t.Errorf("the schema says %v, want conforms: %v", err, tc.conforms)
				}
			}
		})
	}
}

// The schema files and the OpenAPI document say the same of the same object.
func TestTheDocumentAndTheSchemasAgree(t *testing.T) {
	t.Parallel()
	var doc struct {
		Components struct{ Schemas map[string]map[string]any }
	}
	if err := json.Unmarshal(schemas.OpenAPI, &doc); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"Cart": "cart", "CartChanged": "cart-changed", "Book": "book", "Problem": "problem"} {
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(file + ".schema.json")
			if err != nil {
				t.Fatal(err)
			}
			var alone map[string]any
			if err := json.Unmarshal(bytes.ReplaceAll(b, []byte("#/$defs/"), []byte("#/components/schemas/")), &alone); err != nil {
				t.Fatal(err)
			}
			if alone["title"] != name || !strings.HasPrefix(fmt.Sprint(alone["$schema"]), "https://json-schema.org/draft/2020-12/") {
				t.Errorf("title %v, $schema %v", alone["title"], alone["$schema"])
			}
			parts, _ := alone["$defs"].(map[string]any)
			for _, extra := range []string{"title", "$schema", "$id", "$defs"} {
				delete(alone, extra)
			}
			if !reflect.DeepEqual(alone, doc.Components.Schemas[name]) {
				t.Errorf("the file says %v\nthe document %v", alone, doc.Components.Schemas[name])
			}
			for part, schema := range parts {
				if !reflect.DeepEqual(schema, any(doc.Components.Schemas[part])) {
					t.Errorf("of %s the file says %v\nthe document %v", part, schema, doc.Components.Schemas[part])
				}
			}
		})
	}
}
