package rest_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"cartstream/api/book"
	"cartstream/schemas"
)

const novelJSON = `{"bookId":"b1","title":"Emma","author":"Jane Austen","unitPrice":1299,"currency":"EUR","stock":3,"status":"available","version":4}`

func TestABookIsAnsweredWithItsVersion(t *testing.T) {
	t.Parallel()
	a := setup(t)
	got := a.do(t, call{method: "GET", path: "/v1/books/b1"})
	if got.status != 200 || string(got.body) != novelJSON || got.header.Get("Etag") != `"4"` {
		t.Errorf("got %d %s %s", got.status, got.header.Get("Etag"), got.body)
	}
}

func TestBooksAreListedByWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for claim, tc := range map[string]struct {
		query string
		want  book.Query
	}{
		"nothing":                         {"", book.Query{}},
		"all of it":                       {"?cursor=abc&limit=7&q=jane%20aust&status=discontinued", book.Query{Cursor: "abc", Limit: 7, Q: "jane aust", Status: schemas.Discontinued}},
		"the least":                       {"?limit=1", book.Query{Limit: 1}},
		"the most":                        {"?limit=100", book.Query{Limit: 100}},
		"available ones":                  {"?status=available", book.Query{Status: schemas.Available}},
		"those out of stock":              {"?status=out_of_stock", book.Query{Status: schemas.OutOfStock}},
		"an empty search, from the start": {"?cursor=&q=", book.Query{}},
		"a parameter that isn't known":    {"?page=2", book.Query{}},
		"a plus for a blank":              {"?q=jane+aust", book.Query{Q: "jane aust"}},
	} {
		t.Run(claim, func(t *testing.T) {
			if got := a.do(t, call{method: "GET", path: "/v1/books" + tc.query}); got.status != 200 || string(got.body) != `{"items":[]}` {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			if a.books.query != tc.want {
				t.Errorf("asked for %+v, want %+v", a.books.query, tc.want)
			}
		})
	}
	a.books.page = book.Page{Items: []schemas.Book{novel}, NextCursor: "next"}
	if got := a.do(t, call{method: "GET", path: "/v1/books"}); string(got.body) != `{"items":[`+novelJSON+`],"nextCursor":"next"}` {
		t.Errorf("got %s", got.body)
	}
}

func TestABadQueryIsRefused(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for query, fields := range map[string][]string{
		"limit=0": {"limit"}, "limit=101": {"limit"}, "limit=-1": {"limit"}, "limit=1.0": {"limit"}, "limit=1e1": {"limit"}, "limit=%2B5": {"limit"}, "limit=05": {"limit"},
		"limit=": {"limit"}, "limit=x": {"limit"}, "limit=99999999999999999999": {"limit"}, "limit=1&limit=2": {"limit"}, "limit=%EF%BC%95": {"limit"},
		"status=": {"status"}, "status=gone": {"status"}, "status=Available": {"status"}, "status=available&status=available": {"status"},
		"q=%ff": {"q"}, "q=a&q=b": {"q"}, "cursor=a&cursor=b": {"cursor"}, "q=%zz": {"query"}, "q=a;b=c": {"query"},
		"limit=0&status=gone": {"limit", "status"},
	} {
		t.Run(query, func(t *testing.T) {
			if got := a.refused(t, call{method: "GET", path: "/v1/books?" + query}, 400, "invalid-request"); !slices.Equal(got.fields(), fields) {
				t.Errorf("complains about %q, want %q", got.Errors, fields)
			}
		})
	}
	if a.books.asked != "" {
		t.Error("the catalogue was asked")
	}
}

func TestABookIsCreated(t *testing.T) {
	t.Parallel()
	a := setup(t)
	got := a.do(t, call{method: "POST", path: "/v1/books", role: "admin", header: http.Header{"Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}},
		body: `{"bookId":"b1","title":"Emma \u2013 \ud83d\udcd6","author":"Jane Austen","isbn":"978-0-14-143958-7","unitPrice":999999999,"stock":0}`})
	if got.status != 201 || string(got.body) != novelJSON || got.header.Get("Location") != "/v1/books/b1" || got.header.Get("Etag") != `"4"` {
		t.Errorf("got %d %v %s", got.status, got.header, got.body)
	}
	want := book.Draft{Title: "Emma – 📖", Author: "Jane Austen", ISBN: "978-0-14-143958-7", UnitPrice: 999999999}
	if a.books.asked != "create" || a.books.id != "b1" || a.books.draft != want || !strings.HasPrefix(a.books.request.TraceParent, "00-4bf9") {
		t.Errorf("asked to %s %s %+v within %+v", a.books.asked, a.books.id, a.books.draft, a.books.request)
	}
	if got := a.do(t, create); got.status != 201 || a.books.id != "" {
		t.Errorf("without an id: %d, asked under %q", got.status, a.books.id)
	}
}

func TestABookIsReplaced(t *testing.T) {
	t.Parallel()
	a := setup(t)
	c := put
	c.header = http.Header{"If-Match": {`"4", W/"3", "x", "05"`}}
	if got := a.do(t, c); got.status != 200 || string(got.body) != novelJSON || got.header.Get("Etag") != `"4"` {
		t.Errorf("got %d %v %s", got.status, got.header, got.body)
	}
	want := book.Draft{Title: "Emma", Author: "Jane Austen", UnitPrice: 1, Stock: 1}
	if m := a.books.request.IfMatch; a.books.asked != "put" || a.books.id != "b1" || a.books.draft != want || !m.Set || m.Any || !slices.Equal(m.Versions, []int64{4}) {
		t.Errorf("asked to %s %s %+v if %+v", a.books.asked, a.books.id, a.books.draft, m)
	}
}

func TestABookIsDiscontinued(t *testing.T) {
	t.Parallel()
	a := setup(t)
	if got := a.do(t, call{method: "DELETE", path: "/v1/books/b1", role: "admin", header: http.Header{"If-Match": {"*"}}}); got.status != 204 || len(got.body) > 0 {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if a.books.asked != "delete" || !a.books.request.IfMatch.Any {
		t.Errorf("asked to %s if %+v", a.books.asked, a.books.request.IfMatch)
	}
}

func TestAPatchChangesWhatItNames(t *testing.T) {
	t.Parallel()
	a := setup(t)
	show := func(p book.Patch) string {
		var all []string
		for name, s := range map[string]*string{"title": p.Title, "author": p.Author, "isbn": p.ISBN} {
			if s != nil {
				all = append(all, name+"="+*s)
			}
		}
		if p.UnitPrice != nil {
			all = append(all, "unitPrice")
		}
		if p.Stock != nil {
			all = append(all, "stock")
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	for claim, tc := range map[string]struct{ body, want string }{
		"nothing":          {`{}`, ""},
		"a title":          {`{"title":"Emma"}`, "title=Emma"},
		"no isbn any more": {`{"isbn":null}`, "isbn="},
		"all of it":        {`{"title":"E","author":"A","isbn":"9","unitPrice":0,"stock":0}`, "author=A isbn=9 stock title=E unitPrice"},
	} {
		t.Run(claim, func(t *testing.T) {
			for _, kind := range []string{"application/merge-patch+json", "application/json", "application/merge-patch+json; charset=UTF-8"} {
				if got := a.do(t, call{method: "PATCH", path: "/v1/books/b1", role: "admin", body: tc.body, header: http.Header{"Content-Type": {kind}}}); got.status != 200 {
					t.Fatalf("%s: %d %s", kind, got.status, got.body)
				}
				if got := show(a.books.patch); got != tc.want {
					t.Errorf("%s: asked to change %q, want %q", kind, got, tc.want)
				}
			}
		})
	}
	for body, fields := range map[string][]string{
		`{"title":null}`: {"title"}, `{"author":null,"stock":null}`: {"author", "stock"}, `{"unitPrice":null}`: {"unitPrice"}, `{"bookId":"b2"}`: {"bookId"},
		`{"status":"available"}`: {"status"}, `{"isbn":null,"isbn":"9"}`: {"isbn"}, `null`: {"body"}, `[]`: {"body"}, `{"stock":1.0}`: {"stock"},
	} {
		t.Run(body, func(t *testing.T) {
			if got := a.refused(t, call{method: "PATCH", path: "/v1/books/b1", role: "admin", body: body}, 400, "invalid-request"); !slices.Equal(got.fields(), fields) {
				t.Errorf("complains about %q, want %q", got.Errors, fields)
			}
		})
	}
}

func TestABadBookIsRefused(t *testing.T) {
	t.Parallel()
	a := setup(t)
	long := strings.Repeat("é", 501)
	for claim, tc := range map[string]struct {
		body   string
		fields []string
	}{
		"nothing":               {`{}`, []string{"title", "author", "unitPrice", "stock"}},
		"no stock":              {`{"title":"T","author":"A","unitPrice":1}`, []string{"stock"}},
		"an empty title":        {`{"title":"","author":"A","unitPrice":1,"stock":1}`, []string{"title"}},
		"a long author":         {`{"title":"T","author":"` + long + `","unitPrice":1,"stock":1}`, []string{"author"}},
		"a NUL in the title":    {`{"title":"T\u0000","author":"A","unitPrice":1,"stock":1}`, []string{"title"}},
		"a tab in the author":   {`{"title":"T","author":"A\t","unitPrice":1,"stock":1}`, []string{"author"}},
		"half a surrogate pair": {`{"title":"T\udc00\ud800","author":"A","unitPrice":1,"stock":1}`, []string{"title"}},
		"a high one at the end": {`{"title":"\ud83d","author":"A","unitPrice":1,"stock":1}`, []string{"title"}},
		"a high one, then text": {`{"title":"\ud83dx\udcd6","author":"A","unitPrice":1,"stock":1}`, []string{"title"}},
		"a negative price":      {`{"title":"T","author":"A","unitPrice":-1,"stock":1}`, []string{"unitPrice"}},
		"a price of fractions":  {`{"title":"T","author":"A","unitPrice":12.99,"stock":1}`, []string{"unitPrice"}},
		"a price in quotes":     {`{"title":"T","author":"A","unitPrice":"12","stock":1}`, []string{"unitPrice"}},
		"a price too high":      {`{"title":"T","author":"A","unitPrice":1000000000,"stock":1}`, []string{"unitPrice"}},
		"a stock beyond int64":  {`{"title":"T","author":"A","unitPrice":1,"stock":99999999999999999999}`, []string{"stock"}},
		"null for no isbn":      {`{"title":"T","author":"A","isbn":null,"unitPrice":1,"stock":1}`, []string{"isbn"}},
		"an odd isbn":           {`{"title":"T","author":"A","isbn":"<b>","unitPrice":1,"stock":1}`, []string{"isbn"}},
		"a number for a title":  {`{"title":1984,"author":"A","unitPrice":1,"stock":1}`, []string{"title"}},
		"a version":             {`{"title":"T","author":"A","unitPrice":1,"stock":1,"version":1}`, []string{"version"}},
		"several":               {`{"title":"","author":7,"unitPrice":-1,"stock":1.5}`, []string{"author", "unitPrice", "stock", "title"}},
	} {
		t.Run(claim, func(t *testing.T) {
			for _, c := range []call{{method: "POST", path: "/v1/books"}, {method: "PUT", path: "/v1/books/b1"}} {
				c.role, c.body = "admin", tc.body
				got := a.refused(t, c, 400, "invalid-request").fields()
				slices.Sort(got)
				want := slices.Sorted(slices.Values(tc.fields))
				if !slices.Equal(got, want) {
					t.Errorf("%s complains about %q, want %q", c.method, got, want)
				}
			}
		})
	}
	if a.books.asked != "" {
		t.Errorf("the catalogue was asked to %s", a.books.asked)
	}
	for claim, body := range map[string]string{
		"500 characters of four bytes": `{"title":"` + strings.Repeat("📖", 500) + `","author":"A","unitPrice":0,"stock":0}`,
		"an escaped pair":              `{"title":"\ud83d\udcd6\\ud800","author":"A","unitPrice":1,"stock":1}`,
		"no isbn, as empty":            `{"title":"T","author":"A","isbn":"","unitPrice":1,"stock":1}`,
		"DEL and C1":                   `{"title":"T\u007f\u0085","author":"A","unitPrice":1,"stock":1}`,
	} {
		t.Run(claim+" is good", func(t *testing.T) {
			if got := a.do(t, call{method: "POST", path: "/v1/books", role: "admin", body: body}); got.status != 201 {
				t.Errorf("got %d %s", got.status, got.body)
			}
		})
	}
	if got := a.refused(t, call{method: "POST", path: "/v1/books", role: "admin", body: `{"bookId":"","title":"T","author":"A","unitPrice":1,"stock":1}`}, 400, "invalid-request"); !slices.Equal(got.fields(), []string{"bookId"}) {
		t.Errorf("complains about %q", got.Errors)
	}
}
