package rest_test

import (
	"bytes"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"

	"cartstream/api/cart"
)

// bad are bodies that no call with a body takes, and the fields that are complained about.
var bad = map[string]struct {
	body   string
	fields []string
}{
	"nothing":                         {"", []string{"body"}},
	"blanks":                          {" \n", []string{"body"}},
	"a word":                          {"hello", []string{"body"}},
	"null":                            {"null", []string{"body"}},
	"a list":                          {`[{"bookId":"b1","quantity":1}]`, []string{"body"}},
	"a string":                        {`"b1"`, []string{"body"}},
	"a number":                        {"1", []string{"body"}},
	"half an object":                  {`{"bookId":"b1"`, []string{"body"}},
	"a comma too many":                {`{"bookId":"b1",}`, []string{"body"}},
	"a comment":                       {`{"bookId":"b1"/*x*/}`, []string{"body"}},
	"names without quotes":            {`{bookId:"b1"}`, []string{"body"}},
	"single quotes":                   {`{'bookId':'b1'}`, []string{"body"}},
	"two objects":                     {`{"bookId":"b1"}{"bookId":"b2"}`, []string{"body"}},
	"something behind":                {`{"bookId":"b1"} x`, []string{"body"}},
	"a byte order mark":               {"\xef\xbb\xbf" + `{"bookId":"b1"}`, []string{"body"}},
	"bytes that aren't UTF-8":         {"{\"bookId\":\"b\xff\"}", []string{"body"}},
	"a NUL":                           {"{\"bookId\":\"b1\x00\"}", []string{"body"}},
	"a NUL behind":                    {"{\"bookId\":\"b1\"}\x00", []string{"body"}},
	"a line break in a string":        {"{\"bookId\":\"b\n1\"}", []string{"body"}},
	"UTF-16":                          {"\xff\xfe{\x00}\x00", []string{"body"}},
	"ten thousand levels":             {strings.Repeat(`{"a":`, 10001) + "1" + strings.Repeat("}", 10001), []string{"body"}},
	"a number with a leading zero":    {`{"bookId":"b1","quantity":01}`, []string{"body"}},
	"a number with a plus":            {`{"bookId":"b1","quantity":+1}`, []string{"body"}},
	"NaN":                             {`{"bookId":"b1","quantity":NaN}`, []string{"body"}},
	"hexadecimal":                     {`{"bookId":"b1","quantity":0x1}`, []string{"body"}},
	"a fraction":                      {`{"bookId":"b1","quantity":1.5}`, []string{"quantity"}},
	"a fraction of nothing":           {`{"bookId":"b1","quantity":1.0}`, []string{"quantity"}},
	"an exponent":                     {`{"bookId":"b1","quantity":1e0}`, []string{"quantity"}},
	"an exponent in capitals":         {`{"bookId":"b1","quantity":1E2}`, []string{"quantity"}},
	"more than a float holds":         {`{"bookId":"b1","quantity":1e308}`, []string{"quantity"}},
	"a negative number":               {`{"bookId":"b1","quantity":-1}`, []string{"quantity"}},
	"a negative nothing":              {`{"bookId":"b1","quantity":-0}`, []string{"quantity"}},
	"less than an int64 holds":        {`{"bookId":"b1","quantity":-99999999999999999999}`, []string{"quantity"}},
	"a number in quotes":              {`{"bookId":"b1","quantity":"1"}`, []string{"quantity"}},
	"true for a number":               {`{"bookId":"b1","quantity":true}`, []string{"quantity"}},
	"null for a number":               {`{"bookId":"b1","quantity":null}`, []string{"quantity"}},
	"a list for a number":             {`{"bookId":"b1","quantity":[1]}`, []string{"quantity"}},
	"an object for a number":          {`{"bookId":"b1","quantity":{"n":1}}`, []string{"quantity"}},
	"a name in another case":          {`{"bookId":"b1","Quantity":1,"quantity":1}`, []string{"Quantity"}},
	"a name twice":                    {`{"bookId":"b1","quantity":1,"quantity":1}`, []string{"quantity"}},
	"a name twice, once escaped":      {`{"bookId":"b1","quantity":1,"quant\u0069ty":2}`, []string{"quantity"}},
	"a name that isn't known":         {`{"bookId":"b1","quantity":1,"price":1}`, []string{"price"}},
	"an empty name":                   {`{"bookId":"b1","quantity":1,"":1}`, []string{""}},
	"a name that isn't known, nested": {`{"bookId":"b1","quantity":1,"a":{"b":[1,{"c":"}"}]}}`, []string{"a"}},
}

func TestABadBodyIsRefusedWithItsFaults(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for claim, tc := range bad {
		t.Run(claim, func(t *testing.T) {
			got := a.refused(t, call{method: "POST", path: "/v1/cart/items", body: tc.body}, 400, "invalid-request")
			if !slices.Equal(got.fields(), tc.fields) {
				t.Errorf("complains about %q, want %q", got.Errors, tc.fields)
			}
			// A line is set by the same rules, but knows no bookId; a name that is empty has no field to show.
			body := strings.ReplaceAll(tc.body, `"bookId":"b1",`, "")
			a.refused(t, call{method: "PUT", path: "/v1/cart/items/b1", body: body}, 400, "invalid-request")
		})
	}
	a.carts.none(t)
}

func TestABadBookIDIsRefused(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for claim, body := range map[string]string{
		"missing":                  `{"quantity":1}`,
		"null":                     `{"bookId":null}`,
		"a number":                 `{"bookId":1}`,
		"empty":                    `{"bookId":""}`,
		"with a blank":             `{"bookId":"b 1"}`,
		"with a slash":             `{"bookId":"b/1"}`,
		"with an escaped NUL":      `{"bookId":"b\u0000"}`,
		"with a line break behind": `{"bookId":"b1\n"}`,
		"with an umlaut":           `{"bookId":"bü"}`,
		"half a surrogate pair":    `{"bookId":"b\ud800"}`,
		"65 characters":            `{"bookId":"` + strings.Repeat("b", 65) + `"}`,
	} {
		t.Run(claim, func(t *testing.T) {
			if got := a.refused(t, call{method: "POST", path: "/v1/cart/items", body: body}, 400, "invalid-request"); !slices.Equal(got.fields(), []string{"bookId"}) {
				t.Errorf("complains about %q, want bookId", got.Errors)
			}
		})
	}
	for claim, id := range map[string]string{
		"a blank": "b%201", "a slash": "b%2F1", "a NUL": "b%00", "a percent": "%25", "65 characters": strings.Repeat("b", 65), "an umlaut": "b%C3%BC", "no UTF-8": "b%ff",
	} {
		t.Run("in the path, "+claim, func(t *testing.T) {
			for _, c := range []call{
				{method: "PUT", path: "/v1/cart/items/" + id, body: `{"quantity":0}`},
				{method: "DELETE", path: "/v1/cart/items/" + id},
				{method: "POST", path: "/v1/cart/items/" + id + "/acknowledge"},
				{method: "GET", path: "/v1/books/" + id},
				{method: "PUT", path: "/v1/books/" + id, body: put.body, role: "admin"},
				{method: "PATCH", path: "/v1/books/" + id, body: "{}", role: "admin"},
				{method: "DELETE", path: "/v1/books/" + id, role: "admin"},
			} {
				if got := a.refused(t, c, 400, "invalid-request"); !slices.Equal(got.fields(), []string{"bookId"}) {
					t.Errorf("%s %s complains about %q, want bookId", c.method, c.path, got.Errors)
				}
			}
		})
	}
	a.carts.none(t)
}

func TestAllFaultsAreToldAtOnce(t *testing.T) {
	t.Parallel()
	a := setup(t)
	got := a.refused(t, call{
		method: "PUT", path: "/v1/cart/items/b%20", body: `{"quantity":-1,"x":1,"y":2}`,
		header: http.Header{"If-Match": {"1.7"}, "Idempotency-Key": {"a b"}},
	}, 400, "invalid-request")
	fields := got.fields()
	slices.Sort(fields)
	if want := []string{"Idempotency-Key", "If-Match", "bookId", "quantity", "x", "y"}; !slices.Equal(fields, want) {
		t.Errorf("complains about %q, want %q", fields, want)
	}
	got = a.refused(t, call{method: "PUT", path: "/v1/cart/items/b1", body: "{" + strings.Repeat(`"`+strings.Repeat("x", 500)+`":1,`, 120) + `"quantity":1}`}, 400, "invalid-request")
	if len(got.Errors) != 50 || len(got.Errors[0].Field) > 70 {
		t.Errorf("%d faults, the first about %q: want 50 and a short name", len(got.Errors), got.Errors[0].Field)
	}
}

func TestAGoodBodyIsTakenHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for claim, tc := range map[string]struct {
		body     string
		book     string
		quantity int64
	}{
		"one where no quantity is named":    {`{"bookId":"b1"}`, "b1", 1},
		"the quantity":                      {`{"bookId":"b1","quantity":3}`, "b1", 3},
		"in another order, with blanks":     {" {\r\n\t\"quantity\" : 3 , \"bookId\" : \"b1\" } \n", "b1", 3},
		"with escapes":                      {`{"b\u006fokId":"b\u0031"}`, "b1", 1},
		"every character of an id":          {`{"bookId":"A-z_0.9:@"}`, "A-z_0.9:@", 1},
		"64 characters":                     {`{"bookId":"` + strings.Repeat("b", 64) + `"}`, strings.Repeat("b", 64), 1},
		"the largest int64":                 {`{"bookId":"b1","quantity":9223372036854775807}`, "b1", math.MaxInt64},
		"more than an int64, for the limit": {`{"bookId":"b1","quantity":9223372036854775808}`, "b1", math.MaxInt64},
		"a thousand digits, for the limit":  {`{"bookId":"b1","quantity":` + strings.Repeat("9", 1000) + `}`, "b1", math.MaxInt64},
	} {
		t.Run(claim, func(t *testing.T) {
			if got := a.do(t, call{method: "POST", path: "/v1/cart/items", body: tc.body}); got.status != 200 {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			if got := a.carts.last(t); got.what != "add" || got.book != tc.book || got.quantity != tc.quantity {
				t.Errorf("asked to %+v, want %s × %d", got, tc.book, tc.quantity)
			}
		})
	}
}

func TestAQuantityStartsAtOneToAddAndAtNothingToSet(t *testing.T) {
	t.Parallel()
	a := setup(t)
	if got := a.refused(t, call{method: "POST", path: "/v1/cart/items", body: `{"bookId":"b1","quantity":0}`}, 400, "invalid-request"); !slices.Equal(got.fields(), []string{"quantity"}) {
		t.Errorf("complains about %q", got.Errors)
	}
	if got := a.refused(t, call{method: "PUT", path: "/v1/cart/items/b1", body: "{}"}, 400, "invalid-request"); !slices.Equal(got.fields(), []string{"quantity"}) {
		t.Errorf("complains about %q", got.Errors)
	}
	a.carts.none(t)
	if got := a.do(t, call{method: "PUT", path: "/v1/cart/items/b1", body: `{"quantity":0}`}); got.status != 200 {
		t.Errorf("setting to 0: %d %s", got.status, got.body)
	}
	if got := a.carts.last(t); got.what != "set" || got.quantity != 0 {
		t.Errorf("asked to %+v, want set to 0", got)
	}
}

func TestABodyHasToSayThatItIsJSON(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for claim, types := range map[string][]string{
		"nothing":            nil,
		"an empty type":      {""},
		"text":               {"text/plain"},
		"a form":             {"application/x-www-form-urlencoded"},
		"a patch":            {"application/merge-patch+json"},
		"problem JSON":       {"application/problem+json"},
		"another charset":    {"application/json; charset=latin1"},
		"a broken parameter": {"application/json; charset"},
		"two types":          {"application/json", "application/json"},
		"two types in one":   {"application/json, text/plain"},
	} {
		t.Run(claim, func(t *testing.T) {
			a.refused(t, call{method: "POST", path: "/v1/cart/items", body: add.body, header: http.Header{"Content-Type": types}}, 415, "unsupported-media-type")
			a.refused(t, call{method: "POST", path: "/v1/cart/items", reader: io.MultiReader(strings.NewReader(add.body)), header: http.Header{"Content-Type": types}}, 415, "unsupported-media-type")
		})
	}
	a.carts.none(t)
	for claim, kind := range map[string]string{
		"plainly": "application/json", "with a charset": "application/json; charset=utf-8", "in capitals": `Application/JSON;charset="UTF-8"`, "with a parameter of its own": "application/json; v=1",
	} {
		t.Run(claim, func(t *testing.T) {
			if got := a.do(t, call{method: "POST", path: "/v1/cart/items", body: add.body, header: http.Header{"Content-Type": {kind}}}); got.status != 200 {
				t.Errorf("got %d %s", got.status, got.body)
			}
		})
	}
}

func TestABodyIsNoLargerThanTheLimit(t *testing.T) {
	t.Parallel()
	a := setup(t)
	padded := func(size int) string { return add.body + strings.Repeat(" ", size-len(add.body)) }
	for claim, tc := range map[string]struct {
		size   int
		status int
	}{"the limit itself": {64 << 10, 200}, "a byte more": {64<<10 + 1, 413}, "ten megabytes": {10 << 20, 413}} {
		t.Run(claim, func(t *testing.T) {
			for how, c := range map[string]call{
				"at once":   {method: "POST", path: "/v1/cart/items", body: padded(tc.size)},
				"in chunks": {method: "POST", path: "/v1/cart/items", reader: io.MultiReader(strings.NewReader(padded(tc.size)))},
			} {
				if tc.status == 200 {
					if got := a.do(t, c); got.status != 200 {
						t.Errorf("%s: %d %s", how, got.status, got.body)
					}
					continue
				}
				a.refused(t, c, 413, "payload-too-large")
			}
		})
	}
	for _, path := range []string{"/v1/cart", "/v1/cart/items/b1"} {
		a.refused(t, call{method: "DELETE", path: path, body: padded(64<<10 + 1)}, 413, "payload-too-large")
		a.refused(t, call{method: "DELETE", path: path, reader: io.MultiReader(strings.NewReader(padded(10 << 20)))}, 413, "payload-too-large")
	}
	for _, asked := range a.carts.asked {
		if asked.what != "add" {
			t.Errorf("asked to %s with a body that is too large", asked.what)
		}
	}
}

func TestABodyWhereNoneBelongsDoesNotMatter(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for _, c := range []call{{method: "DELETE", path: "/v1/cart"}, {method: "DELETE", path: "/v1/cart/items/b1"}, {method: "POST", path: "/v1/cart/items/b1/acknowledge"}} {
		for _, body := range []string{"", "{}", "hello"} {
			c.body, c.header = body, http.Header{"Content-Type": {"text/plain"}}
			if got := a.do(t, c); got.status != 200 {
				t.Errorf("%s %s with %q: %d %s", c.method, c.path, body, got.status, got.body)
			}
		}
	}
}

func TestABodyThatBreaksOffIsABadBody(t *testing.T) {
	t.Parallel()
	a := setup(t)
	conn := dial(t, a)
	if _, err := conn.Write([]byte("POST /v1/cart/items HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n" +
		"Authorization: Bearer " + mint(t, map[string]any{"sub": "u1"}) + "\r\n\r\n5\r\n{\"boo\r\nno chunk\r\n")); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(all, []byte("HTTP/1.1 400 ")) || !bytes.Contains(all, []byte(`"field":"body"`)) {
		t.Errorf("got %s", all)
	}
	a.carts.none(t)
}

func TestALimitOfTheCartIsTheStores(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.carts.err = cart.ErrQuantityLimit
	a.refused(t, call{method: "PUT", path: "/v1/cart/items/b1", body: `{"quantity":99999999999999999999}`}, 422, "quantity-limit")
}
