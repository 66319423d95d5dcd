package rest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"cartstream/api/book"
	"cartstream/api/cart"
	"cartstream/api/rest"
	"cartstream/schemas"
)

var (
	add    = call{method: "POST", path: "/v1/cart/items", body: `{"bookId":"b1"}`}
	create = call{method: "POST", path: "/v1/books", body: `{"title":"Emma","author":"Jane Austen","unitPrice":1,"stock":1}`, role: "admin"}
	put    = call{method: "PUT", path: "/v1/books/b1", body: `{"title":"Emma","author":"Jane Austen","unitPrice":1,"stock":1}`, role: "admin"}
)

func TestWhatTheCartRefusesIsAProblem(t *testing.T) {
	t.Parallel()
	a := setup(t)
	cause := errors.New("dial tcp 10.0.0.7:6379: secret cause")
	for claim, tc := range map[string]struct {
		err    error
		call   call
		status int
		slug   string
	}{
		"a book that isn't there":        {book.ErrNotFound, add, 404, "book-not-found"},
		"a line that isn't there":        {cart.ErrLineNotFound, call{method: "DELETE", path: "/v1/cart/items/b1"}, 404, "line-not-found"},
		"nothing to acknowledge":         {cart.ErrLineNotFound, call{method: "POST", path: "/v1/cart/items/b1/acknowledge"}, 404, "line-not-found"},
		"a book that can't be had":       {cart.ErrBookUnavailable, add, 409, "book-unavailable"},
		"another state than If-Match's":  {&cart.VersionMismatch{Epoch: 3, Version: 9}, add, 412, "version-mismatch"},
		"too many of a book":             {cart.ErrQuantityLimit, add, 422, "quantity-limit"},
		"too many books":                 {cart.ErrLineLimit, add, 422, "line-limit"},
		"a key that was used":            {cart.ErrKeyReused, call{method: "DELETE", path: "/v1/cart"}, 422, "idempotency-key-reused"},
		"a Redis that is away":           {&cart.Unavailable{Applied: cart.NotApplied, RetryAfter: time.Second, Err: cause}, add, 503, "unavailable"},
		"an engine that is away":         {fmt.Errorf("look up: %w", schemas.ErrUnavailable), add, 503, "unavailable"},
		"a deadline":                     {context.DeadlineExceeded, add, 503, "unavailable"},
		"whatever nobody thought of":     {cause, add, 500, "internal"},
		"a cart that can't be read":      {cause, call{method: "GET", path: "/v1/cart"}, 500, "internal"},
		"totals of a Redis that is away": {&cart.Unavailable{Err: cause}, call{method: "GET", path: "/v1/cart/total"}, 503, "unavailable"},
	} {
		t.Run(claim, func(t *testing.T) {
			a.carts.err = fmt.Errorf("cart of u1: %w", tc.err)
			a.refused(t, tc.call, tc.status, tc.slug)
			if got := a.do(t, tc.call); strings.Contains(string(got.body), "secret") || strings.Contains(string(got.body), "10.0.0.7") {
				t.Errorf("the cause is told: %s", got.body)
			}
		})
	}
}

func TestWhatTheCatalogueRefusesIsAProblem(t *testing.T) {
	t.Parallel()
	a := setup(t)
	list := call{method: "GET", path: "/v1/books"}
	for claim, tc := range map[string]struct {
		err    error
		call   call
		status int
		slug   string
	}{
		"a book that isn't there":          {book.ErrNotFound, call{method: "GET", path: "/v1/books/b1"}, 404, "book-not-found"},
		"replacing one that isn't there":   {book.ErrNotFound, put, 404, "book-not-found"},
		"a book that is there":             {book.ErrExists, create, 409, "book-exists"},
		"another version than If-Match's":  {&book.VersionMismatch{Version: 9}, put, 412, "version-mismatch"},
		"a cursor of someone else":         {book.ErrBadCursor, list, 400, "invalid-request"},
		"fields that only the store knows": {&book.Invalid{Fields: []book.FieldError{{Field: "title", Message: "is odd"}}}, create, 400, "invalid-request"},
		"a MongoDB that is away":           {&book.Unavailable{Err: errors.New("x")}, list, 503, "unavailable"},
		"a MongoDB that took the change?":  {&book.Unavailable{Applied: book.MaybeApplied, Err: errors.New("x")}, put, 503, "unavailable"},
		"whatever nobody thought of":       {errors.New("x"), list, 500, "internal"},
	} {
		t.Run(claim, func(t *testing.T) {
			a.books.err = fmt.Errorf("book b1: %w", tc.err)
			a.refused(t, tc.call, tc.status, tc.slug)
		})
	}
}

func TestAProblemSaysWhatAClientNeedsNext(t *testing.T) {
	t.Parallel()
	a := setup(t)

	t.Run("where the cart is", func(t *testing.T) {
		a.carts.err = &cart.VersionMismatch{Epoch: 3, Version: 0}
		p := a.refused(t, add, 412, "version-mismatch")
		if p.Epoch == nil || *p.Epoch != 3 || p.Version == nil || *p.Version != 0 {
			t.Errorf("got %+v, want epoch 3, version 0", p)
		}
	})
	t.Run("where the book is", func(t *testing.T) {
		a.books.err = &book.VersionMismatch{Version: 9}
		p := a.refused(t, put, 412, "version-mismatch")
		if p.Epoch != nil || p.Version == nil || *p.Version != 9 {
			t.Errorf("got %+v, want version 9 and no epoch", p)
		}
	})
	t.Run("which fields the catalogue refused", func(t *testing.T) {
		a.books.err = book.ErrBadCursor
		if got := a.refused(t, call{method: "GET", path: "/v1/books"}, 400, "invalid-request").fields(); !slices.Equal(got, []string{"cursor"}) {
			t.Errorf("got %q, want cursor", got)
		}
		a.books.err = &book.Invalid{Fields: []book.FieldError{{Field: "title", Message: "is odd"}, {Field: "isbn", Message: "is odd"}}}
		if got := a.refused(t, create, 400, "invalid-request").fields(); !slices.Equal(got, []string{"title", "isbn"}) {
			t.Errorf("got %q, want title and isbn", got)
		}
	})
	t.Run("methods that are there", func(t *testing.T) {
		got := a.do(t, call{method: "PATCH", path: "/v1/cart/items/b1"})
		if allow := got.header.Get("Allow"); got.status != 405 || !strings.Contains(allow, "PUT") || !strings.Contains(allow, "DELETE") || strings.Contains(allow, "PATCH") {
			t.Errorf("%d, Allow: %q", got.status, allow)
		}
	})
	t.Run("what a patch may be", func(t *testing.T) {
		got := a.do(t, call{method: "PATCH", path: "/v1/books/b1", body: "{}", role: "admin", header: http.Header{"Content-Type": {"text/plain"}}})
		if accept := got.header.Get("Accept-Patch"); got.status != 415 || !strings.Contains(accept, "application/merge-patch+json") {
			t.Errorf("%d, Accept-Patch: %q", got.status, accept)
		}
	})
}

func TestUnavailableTellsWhetherItWasApplied(t *testing.T) {
	t.Parallel()
	a := setup(t)
	away := func(applied cart.Applied) error {
		return &cart.Unavailable{Applied: applied, RetryAfter: 1500 * time.Millisecond, Err: errors.New("x")}
	}
	for claim, tc := range map[string]struct {
		err   error
		call  call
		want  string
		after string
	}{
		"no, where it left no trace":            {away(cart.NotApplied), add, "no", "2"},
		"unknown, where the answer was lost":    {away(cart.MaybeApplied), add, "unknown", "2"},
		"unknown, where the store didn't say":   {context.DeadlineExceeded, add, "unknown", "1"},
		"unknown, where the engine is to blame": {schemas.ErrUnavailable, add, "unknown", "1"},
		"nothing of a read":                     {away(cart.NotApplied), call{method: "GET", path: "/v1/cart"}, "", "2"},
	} {
		t.Run(claim, func(t *testing.T) {
			a.carts.err = tc.err
			if got := a.refused(t, tc.call, 503, "unavailable"); got.Applied != tc.want {
				t.Errorf("applied %q, want %q", got.Applied, tc.want)
			}
			if got := a.do(t, tc.call).header.Get("Retry-After"); got != tc.after {
				t.Errorf("Retry-After %q, want %q", got, tc.after)
			}
		})
	}
	t.Run("of a book too", func(t *testing.T) {
		a.books.err = &book.Unavailable{Applied: book.NotApplied, RetryAfter: 2 * time.Second, Err: errors.New("x")}
		if got := a.refused(t, put, 503, "unavailable"); got.Applied != "no" {
			t.Errorf("applied %q, want no", got.Applied)
		}
	})
}

func TestUnknownPathsAndMethodsAreProblems(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for claim, tc := range map[string]struct {
		method, path string
		status       int
		slug         string
	}{
		"the root":                        {"GET", "/", 404, "not-found"},
		"another version":                 {"GET", "/v2/cart", 404, "not-found"},
		"a slash too many":                {"GET", "/v1/cart/", 404, "not-found"},
		"two slashes":                     {"GET", "/v1//cart", 404, "not-found"},
		"another case":                    {"GET", "/v1/Cart", 404, "not-found"},
		"a line without a book":           {"PUT", "/v1/cart/items/", 404, "not-found"},
		"something behind a line":         {"POST", "/v1/cart/items/b1/buy", 404, "not-found"},
		"posting a cart":                  {"POST", "/v1/cart", 405, "method-not-allowed"},
		"getting the lines":               {"GET", "/v1/cart/items", 405, "method-not-allowed"},
		"getting a line":                  {"GET", "/v1/cart/items/b1", 405, "method-not-allowed"},
		"acknowledging with PUT":          {"PUT", "/v1/cart/items/b1/acknowledge", 405, "method-not-allowed"},
		"deleting all books":              {"DELETE", "/v1/books", 405, "method-not-allowed"},
		"posting to health":               {"POST", "/healthz", 405, "method-not-allowed"},
		"a method of one's own":           {"BREW", "/v1/cart", 405, "method-not-allowed"},
		"OPTIONS that is no preflight":    {"OPTIONS", "/v1/cart", 405, "method-not-allowed"},
		"a path of bytes that aren't UTF": {"GET", "/v1/%ff%fe", 404, "not-found"},
	} {
		t.Run(claim, func(t *testing.T) { a.refused(t, call{method: tc.method, path: tc.path}, tc.status, tc.slug) })
	}
	a.carts.none(t)
}

func TestAPanicIsAnInternalProblem(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.carts.hook = func() { panic("secret cause") }
	got := a.do(t, call{method: "GET", path: "/v1/cart"})
	if p := got.problem(t); got.status != 500 || p.Type != "/problems/internal" || strings.Contains(string(got.body), "secret") {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if !strings.Contains(a.log.String(), "secret cause") {
		t.Errorf("the cause isn't logged: %s", a.log)
	}
	a.carts.hook = nil
	if got := a.do(t, call{method: "GET", path: "/v1/cart"}); got.status != 200 {
		t.Errorf("the next call: %d", got.status)
	}
}

func TestAHandlerThatPanicsInTheMiddleOfItsAnswerCutsTheConnection(t *testing.T) {
	t.Parallel()
	a := setup(t, func(c *rest.Config) {
		c.Live = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"half":`))
			panic("in the middle")
		})
	})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.url+"/v1/cart/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err == nil {
		response.Body.Close()
		t.Errorf("half an answer was taken for a whole one: %d", response.StatusCode)
	}
}
