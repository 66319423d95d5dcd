package rest_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"cartstream/api/cart"
	"cartstream/schemas"
)

func TestACartIsAnsweredAsItIsShown(t *testing.T) {
	t.Parallel()
	a := setup(t)
	got := a.do(t, call{method: "GET", path: "/v1/cart"})
	want := `{"userId":"u1","epoch":1795341600000,"version":7,"currency":"EUR","items":[{"bookId":"b1","title":"Emma","unitPrice":1299,"quantity":2,"lineTotal":2598,"availability":"available"}],` +
		`"totalAmount":2598,"totalQuantity":2,"lineCount":1,"updatedAt":"2026-11-22T10:00:00.000Z"}`
	if got.status != 200 || string(got.body) != want {
		t.Errorf("got %d %s\nwant %s", got.status, got.body, want)
	}
	for name, want := range map[string]string{"Etag": `"1795341600000.7"`, "Content-Type": "application/json", "Cache-Control": "private, no-cache"} {
		if got := got.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if vary := got.header.Values("Vary"); !slices.Contains(vary, "Authorization") {
		t.Errorf("Vary %q: two users' carts can have the same tag", vary)
	}

	total := a.do(t, call{method: "GET", path: "/v1/cart/total"})
	if want := `{"totalAmount":2598,"totalQuantity":2,"lineCount":1,"currency":"EUR","epoch":1795341600000,"version":7}`; string(total.body) != want {
		t.Errorf("got %s\nwant %s", total.body, want)
	}
}

func TestACartIsShownUnderItsShardsGeneration(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.carts.view.Generation = 1795341600001
	if got := a.do(t, call{method: "GET", path: "/v1/cart"}); got.header.Get("Etag") != `"1795341600001.7"` || !strings.Contains(string(got.body), `"epoch":1795341600001`) {
		t.Errorf("got %s %s", got.header.Get("Etag"), got.body)
	}
	if got := a.do(t, call{method: "GET", path: "/v1/cart/total"}); !strings.Contains(string(got.body), `"epoch":1795341600001`) {
		t.Errorf("got %s", got.body)
	}
}

func TestAUserWithoutACartHasAnEmptyOne(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.carts.view = cart.View{Cart: schemas.Cart{UserID: "u1", Currency: "EUR"}, Generation: 3}
	got := a.do(t, call{method: "GET", path: "/v1/cart"})
	if want := `{"userId":"u1","epoch":3,"version":0,"currency":"EUR","items":[],"totalAmount":0,"totalQuantity":0,"lineCount":0}`; string(got.body) != want {
		t.Errorf("got %s\nwant %s", got.body, want)
	}
	if tag := got.header.Get("Etag"); tag != `"3.0"` {
		t.Errorf("ETag %s", tag)
	}
}

func TestIfNoneMatchSparesTheBody(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for claim, tc := range map[string]struct {
		lines   []string
		cart    bool
		ofABook bool
	}{
		"nothing named":               {nil, false, false},
		"the tag":                     {[]string{`"1795341600000.7"`}, true, false},
		"the tag, weak":               {[]string{`W/"1795341600000.7"`}, true, false},
		"the book's tag":              {[]string{`"4"`}, false, true},
		"in a list":                   {[]string{`"a", W/"4" ,"1795341600000.7"`}, true, true},
		"over several lines":          {[]string{`"a"`, `"4"`, `"1795341600000.7"`}, true, true},
		"anything":                    {[]string{"*"}, true, true},
		"another version":             {[]string{`"1795341600000.8"`}, false, false},
		"the same without quotes":     {[]string{"1795341600000.7"}, false, false},
		"a broken list with it":       {[]string{`"1795341600000.7", x`}, false, false},
		"a tag that only looks alike": {[]string{`"01795341600000.7"`}, false, false},
	} {
		t.Run(claim, func(t *testing.T) {
			for path, want := range map[string]bool{"/v1/cart": tc.cart, "/v1/books/b1": tc.ofABook} {
				got := a.do(t, call{method: "GET", path: path, header: http.Header{"If-None-Match": tc.lines}})
				if spared := got.status == 304; spared != want || spared && len(got.body) > 0 || got.header.Get("Etag") == "" {
					t.Errorf("GET %s: %d with %d bytes and ETag %s, want 304: %v", path, got.status, len(got.body), got.header.Get("Etag"), want)
				}
			}
		})
	}
}

func TestAMutationAnswersWhatChanged(t *testing.T) {
	t.Parallel()
	a := setup(t)
	want := `{"userId":"u1","epoch":1795341600000,"version":7,"type":"item_added","items":[{"bookId":"b1","title":"Emma","unitPrice":1299,"quantity":2,"lineTotal":2598,"availability":"available"}],` +
		`"totalAmount":2598,"totalQuantity":2,"lineCount":1,"currency":"EUR","occurredAt":"2026-11-22T10:00:00.000Z"}`
	for claim, tc := range map[string]struct {
		call call
		want asked
	}{
		"adding":        {call{method: "POST", path: "/v1/cart/items", body: `{"bookId":"b1","quantity":2}`}, asked{what: "add", book: "b1", quantity: 2}},
		"setting":       {call{method: "PUT", path: "/v1/cart/items/b%3A1", body: `{"quantity":2}`}, asked{what: "set", book: "b:1", quantity: 2}},
		"removing":      {call{method: "DELETE", path: "/v1/cart/items/b1"}, asked{what: "remove", book: "b1"}},
		"acknowledging": {call{method: "POST", path: "/v1/cart/items/b@1/acknowledge"}, asked{what: "acknowledge", book: "b@1"}},
		"clearing":      {call{method: "DELETE", path: "/v1/cart"}, asked{what: "clear"}},
	} {
		t.Run(claim, func(t *testing.T) {
			got := a.do(t, tc.call)
			if got.status != 200 || string(got.body) != want {
				t.Errorf("got %d %s", got.status, got.body)
			}
			if got.header.Get("Etag") != `"1795341600000.7"` || got.header.Get("Idempotent-Replayed") != "" || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("header %v", got.header)
			}
			last := a.carts.last(t)
			if last.what != tc.want.what || last.book != tc.want.book || last.quantity != tc.want.quantity || last.request.User != "u1" || last.request.Key != "" || last.request.IfMatch.Set {
				t.Errorf("asked %+v, want %+v", last, tc.want)
			}
		})
	}
}

func TestAChangeOfNoLineHasAnEmptyList(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.carts.result.Change = schemas.CartChanged{UserID: "u1", Type: schemas.Cleared, Currency: "EUR", Whole: true}
	if got := a.do(t, call{method: "DELETE", path: "/v1/cart"}); !strings.Contains(string(got.body), `"whole":true,"items":[]`) {
		t.Errorf("got %s", got.body)
	}
}

func TestARepeatIsTheSameAnswerAndSaysSo(t *testing.T) {
	t.Parallel()
	a := setup(t)
	keyed := add
	keyed.header = http.Header{"Idempotency-Key": {"k1"}}
	first := a.do(t, keyed)
	a.carts.result.Replayed = true
	again := a.do(t, keyed)
	if string(first.body) != string(again.body) || again.status != 200 {
		t.Errorf("first %s\nagain %d %s", first.body, again.status, again.body)
	}
	if first.header.Get("Idempotent-Replayed") != "" || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("Idempotent-Replayed: first %q, again %q", first.header.Get("Idempotent-Replayed"), again.header.Get("Idempotent-Replayed"))
	}
	if got := a.carts.last(t).request.Key; got != "k1" {
		t.Errorf("asked under %q", got)
	}
}

func TestAnIdempotencyKeyIsVisibleASCII(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for claim, lines := range map[string][]string{
		"empty": {""}, "256 characters": {strings.Repeat("k", 256)}, "a blank within": {"a b"}, "a tab within": {"a\tb"}, "an umlaut": {"kü"}, "two lines": {"k1", "k1"},
	} {
		t.Run(claim, func(t *testing.T) {
			for _, c := range []call{add, {method: "PUT", path: "/v1/cart/items/b1", body: `{"quantity":1}`}, {method: "DELETE", path: "/v1/cart"}, {method: "DELETE", path: "/v1/cart/items/b1"}, {method: "POST", path: "/v1/cart/items/b1/acknowledge"}} {
				c.header = http.Header{"Idempotency-Key": lines}
				if got := a.refused(t, c, 400, "invalid-request"); !slices.Equal(got.fields(), []string{"Idempotency-Key"}) {
					t.Errorf("complains about %q", got.Errors)
				}
			}
		})
	}
	a.carts.none(t)
	for _, key := range []string{"k", "!", "~", `"quoted,key"`, strings.Repeat("k", 255)} {
		c := add
		c.header = http.Header{"Idempotency-Key": {key}}
		if got := a.do(t, c); got.status != 200 || a.carts.last(t).request.Key != key {
			t.Errorf("%s: %d, asked under %q", key, got.status, a.carts.last(t).request.Key)
		}
	}
}

func TestIfMatchIsAListOfTags(t *testing.T) {
	t.Parallel()
	a := setup(t)
	tag := func(epoch, version int64) cart.Tag { return cart.Tag{Epoch: epoch, Version: version} }
	for claim, tc := range map[string]struct {
		lines []string
		want  cart.IfMatch
	}{
		"no condition":                {nil, cart.IfMatch{}},
		"one tag":                     {[]string{`"1.7"`}, cart.IfMatch{Set: true, Tags: []cart.Tag{tag(1, 7)}}},
		"no cart yet":                 {[]string{`"0.0"`}, cart.IfMatch{Set: true, Tags: []cart.Tag{tag(0, 0)}}},
		"any cart":                    {[]string{"*"}, cart.IfMatch{Set: true, Any: true}},
		"any cart, with blanks":       {[]string{" * "}, cart.IfMatch{Set: true, Any: true}},
		"a list":                      {[]string{`"1.7", "1.8","2.1"`}, cart.IfMatch{Set: true, Tags: []cart.Tag{tag(1, 7), tag(1, 8), tag(2, 1)}}},
		"a list over lines":           {[]string{`"1.7"`, `"1.8", "2.1"`}, cart.IfMatch{Set: true, Tags: []cart.Tag{tag(1, 7), tag(1, 8), tag(2, 1)}}},
		"a list with empty elements":  {[]string{`,"1.7",, "1.8",`}, cart.IfMatch{Set: true, Tags: []cart.Tag{tag(1, 7), tag(1, 8)}}},
		"a weak tag matches nothing":  {[]string{`W/"1.7"`}, cart.IfMatch{Set: true}},
		"a weak tag among others":     {[]string{`W/"1.7", "1.8"`}, cart.IfMatch{Set: true, Tags: []cart.Tag{tag(1, 8)}}},
		"someone else's tag":          {[]string{`"xyzzy"`}, cart.IfMatch{Set: true}},
		"a book's tag":                {[]string{`"7"`}, cart.IfMatch{Set: true}},
		"an empty tag":                {[]string{`""`}, cart.IfMatch{Set: true}},
		"a leading zero":              {[]string{`"1.07"`}, cart.IfMatch{Set: true}},
		"a sign":                      {[]string{`"+1.7"`}, cart.IfMatch{Set: true}},
		"a negative version":          {[]string{`"1.-7"`}, cart.IfMatch{Set: true}},
		"three numbers":               {[]string{`"1.7.1"`}, cart.IfMatch{Set: true}},
		"more than an int64":          {[]string{`"1.9223372036854775808"`}, cart.IfMatch{Set: true}},
		"a comma within a tag":        {[]string{`"a,b", "1.7"`}, cart.IfMatch{Set: true, Tags: []cart.Tag{tag(1, 7)}}},
		"bytes beyond ASCII in a tag": {[]string{`"kü", "1.7"`}, cart.IfMatch{Set: true, Tags: []cart.Tag{tag(1, 7)}}},
		"a star within a tag":         {[]string{`"*"`}, cart.IfMatch{Set: true}},
	} {
		t.Run(claim, func(t *testing.T) {
			c := add
			c.header = http.Header{"If-Match": tc.lines}
			if got := a.do(t, c); got.status != 200 {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			got := a.carts.last(t).request.IfMatch
			if got.Set != tc.want.Set || got.Any != tc.want.Any || !slices.Equal(got.Tags, tc.want.Tags) {
				t.Errorf("asked with %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestWhatIsNoListOfTagsIsRefused(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for claim, lines := range map[string][]string{
		"nothing":                 {""},
		"commas alone":            {",,"},
		"no quotes":               {"1.7"},
		"half the quotes":         {`"1.7`},
		"single quotes":           {"'1.7'"},
		"a blank within":          {`"1 7"`},
		"no comma between":        {`"1.7" "1.8"`},
		"nothing at all between":  {`"1.7""1.8"`},
		"a star among others":     {`*, "1.7"`},
		"a star on its own line":  {`"1.7"`, "*"},
		"two stars":               {"*", "*"},
		"weak in small letters":   {`w/"1.7"`},
		"something behind":        {`"1.7"; x`},
		"a quote that is escaped": {`"1.\"7"`},
	} {
		t.Run(claim, func(t *testing.T) {
			for _, c := range []call{add, {method: "DELETE", path: "/v1/cart"}, put, {method: "PATCH", path: "/v1/books/b1", body: "{}", role: "admin"}, {method: "DELETE", path: "/v1/books/b1", role: "admin"}} {
				c.header = http.Header{"If-Match": lines}
				if got := a.refused(t, c, 400, "invalid-request"); !slices.Equal(got.fields(), []string{"If-Match"}) {
					t.Errorf("%s %s complains about %q", c.method, c.path, got.Errors)
				}
			}
		})
	}
	a.carts.none(t)
}

func TestATraceGoesOn(t *testing.T) {
	t.Parallel()
	a := setup(t)
	const valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for claim, tc := range map[string]struct {
		lines []string
		want  string
	}{
		"a trace":                       {[]string{valid}, valid},
		"none":                          {nil, ""},
		"a later version":               {[]string{"01" + valid[2:] + "-more"}, valid},
		"a later version, as long":      {[]string{"cc" + valid[2:]}, valid},
		"two of them":                   {[]string{valid, valid}, ""},
		"the version that isn't one":    {[]string{"ff" + valid[2:]}, ""},
		"more than its version has":     {[]string{valid + "-more"}, ""},
		"no trace":                      {[]string{"00-00000000000000000000000000000000-00f067aa0ba902b7-01"}, ""},
		"no parent":                     {[]string{"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"}, ""},
		"capitals":                      {[]string{"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"}, ""},
		"one character short":           {[]string{valid[:54]}, ""},
		"dashes elsewhere":              {[]string{"00-4bf92f3577b34da6a3ce929d0e0e4736000f067aa0ba902b7-01"}, ""},
		"a later version, run together": {[]string{"01" + valid[2:] + "more"}, ""},
	} {
		t.Run(claim, func(t *testing.T) {
			c := add
			c.header = http.Header{"Traceparent": tc.lines}
			a.do(t, c)
			if got := a.carts.last(t).request.TraceParent; got != tc.want {
				t.Errorf("asked within %q, want %q", got, tc.want)
			}
		})
	}
}

func TestHeadAnswersLikeGetWithoutABody(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for _, path := range []string{"/v1/cart", "/v1/cart/total", "/v1/books", "/v1/books/b1", "/v1/openapi.json", "/healthz", "/readyz"} {
		get, head := a.do(t, call{method: "GET", path: path}), a.do(t, call{method: "HEAD", path: path})
		if head.status != 200 || len(head.body) > 0 || head.header.Get("Etag") != get.header.Get("Etag") || head.header.Get("Content-Length") != get.header.Get("Content-Length") {
			t.Errorf("HEAD %s: %d %v, GET: %v", path, head.status, head.header, get.header)
		}
	}
}
