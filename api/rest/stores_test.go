package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/api/book"
	"cartstream/api/cart"
	"cartstream/api/rest"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
	"cartstream/schemas/env"
)

// noKafka takes every record and forgets it.
type noKafka struct{}

func (noKafka) TryProduce(_ context.Context, r *kgo.Record, promise func(*kgo.Record, error)) {
	promise(r, nil)
}

// stocked is an API on the real stores, with limits that a test reaches.
func stocked(t *testing.T, redisAt string) *api {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	database, err := (&env.MongoDB{URI: env.Secret(enginetest.Mongo(t))}).Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = database.Client().Disconnect(context.Background()) })
	catalogue := book.Open(book.Options{Database: database, Producer: noKafka{}, Currency: "EUR", Logger: log})
	store, err := cart.Open(cart.Options{
		Redis:  &redis.UniversalOptions{Addrs: []string{redisAt}, MaxRetries: -1, DialTimeout: 500 * time.Millisecond, ReadTimeout: 800 * time.Millisecond},
		Shards: 4, Currency: "EUR", Limits: cart.Limits{Quantity: 9, Lines: 3}, Catalogue: catalogue.Cache(), KeepAnswers: time.Hour, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	open(t, store)
	return setup(t, func(c *rest.Config) { c.Carts, c.Books = store, catalogue })
}

// open gives every shard of an empty Redis its first generation, as recovery does.
func open(t *testing.T, store *cart.Store) {
	t.Helper()
	g := cart.NewGeneration(time.Now().UnixMilli())
	for _, node := range store.Nodes(t.Context()) {
		shards, err := node.Inspect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := node.Swap(t.Context(), g, cart.Ready, shards...); err != nil {
			t.Fatal(err)
		}
		if err := node.Load(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		if err := node.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// shelve creates a book of this id.
func (a *api) shelve(t *testing.T, id string, stock int) {
	t.Helper()
	body := fmt.Sprintf(`{"bookId":%q,"title":"Title of %s","author":"A","unitPrice":100,"stock":%d}`, id, id, stock)
	if got := a.do(t, call{method: "POST", path: "/v1/books", role: "admin", body: body}); got.status != 201 {
		t.Fatalf("create %s: %d %s", id, got.status, got.body)
	}
}

func (a *api) cart(t *testing.T) (c schemas.Cart, tag string) {
	t.Helper()
	got := a.do(t, call{method: "GET", path: "/v1/cart"})
	if err := json.Unmarshal(got.body, &c); err != nil {
		t.Fatalf("%d %s: %v", got.status, got.body, err)
	}
	return c, got.header.Get("Etag")
}

func post(body string) call { return call{method: "POST", path: "/v1/cart/items", body: body} }

func TestACartFromItsFirstLineToItsLast(t *testing.T) {
	t.Parallel()
	a := stocked(t, enginetest.Redis(t))
	a.shelve(t, "b1", 5)
	a.shelve(t, "b2", 5)
	before, tag := a.cart(t)
	if before.Version != 0 || before.UpdatedAt != nil {
		t.Errorf("a cart before the first change: %+v", before)
	}

	kept := before
	apply := func(c call, want schemas.EventType) {
		t.Helper()
		got := a.do(t, c)
		var change schemas.CartChanged
		if err := json.Unmarshal(got.body, &change); err != nil || got.status != 200 || change.Type != want {
			t.Fatalf("%s %s: %d %s, want %s", c.method, c.path, got.status, got.body, want)
		}
		kept.Apply(change)
		now, current := a.cart(t)
		if got.header.Get("Etag") != current || current == tag {
			t.Errorf("%s: tag %s, then the cart has %s; before it was %s", want, got.header.Get("Etag"), current, tag)
		}
		if fmt.Sprintf("%+v", now.Items) != fmt.Sprintf("%+v", kept.Items) || now.Totals != kept.Totals {
			t.Errorf("%s: the cart is %+v; who applies the changes has %+v", want, now, kept)
		}
		tag = current
	}
	apply(post(`{"bookId":"b1","quantity":2}`), schemas.ItemAdded)
	apply(post(`{"bookId":"b2"}`), schemas.ItemAdded)
	apply(call{method: "PUT", path: "/v1/cart/items/b1", body: `{"quantity":7}`, header: http.Header{"If-Match": {tag}}}, schemas.ItemSet)
	if kept.TotalAmount != 800 || kept.TotalQuantity != 8 || kept.LineCount != 2 {
		t.Errorf("totals %+v", kept.Totals)
	}
	apply(call{method: "DELETE", path: "/v1/cart/items/b1"}, schemas.ItemRemoved)
	apply(call{method: "DELETE", path: "/v1/cart", header: http.Header{"If-Match": {"*"}}}, schemas.Cleared)
	if kept.Version != 5 || len(kept.Items) != 0 {
		t.Errorf("in the end %+v", kept)
	}
	for _, c := range []call{{method: "DELETE", path: "/v1/cart"}, {method: "PUT", path: "/v1/cart/items/nobody.has", body: `{"quantity":0}`}} {
		got := a.do(t, c)
		if got.status != 200 || got.header.Get("Etag") != tag || !strings.Contains(string(got.body), `"items":[]`) {
			t.Errorf("%s %s changes nothing: %d %s %s", c.method, c.path, got.status, got.header.Get("Etag"), got.body)
		}
	}
}

func TestWhatTheStoresRefuseChangesNothing(t *testing.T) {
	t.Parallel()
	a := stocked(t, enginetest.Redis(t))
	for _, id := range []string{"b1", "b2", "b3", "b4"} {
		a.shelve(t, id, 5)
	}
	a.shelve(t, "out", 0)
	for _, id := range []string{"b1", "b2", "b3"} {
		if got := a.do(t, post(fmt.Sprintf(`{"bookId":%q,"quantity":5}`, id))); got.status != 200 {
			t.Fatalf("add %s: %d %s", id, got.status, got.body)
		}
	}
	was, tag := a.cart(t)
	keyed := post(`{"bookId":"b1"}`)
	keyed.header = http.Header{"Idempotency-Key": {"k1"}, "If-Match": {`"1.1"`}}
	for claim, tc := range map[string]struct {
		call   call
		status int
		slug   string
	}{
		"a book that isn't there":             {post(`{"bookId":"nobody.has"}`), 404, "book-not-found"},
		"setting one that isn't there":        {call{method: "PUT", path: "/v1/cart/items/nobody.has", body: `{"quantity":1}`}, 404, "book-not-found"},
		"a line that isn't there":             {call{method: "DELETE", path: "/v1/cart/items/b4"}, 404, "line-not-found"},
		"acknowledging what isn't there":      {call{method: "POST", path: "/v1/cart/items/b4/acknowledge"}, 404, "line-not-found"},
		"a book out of stock":                 {post(`{"bookId":"out"}`), 409, "book-unavailable"},
		"more of a book than a line holds":    {post(`{"bookId":"b1","quantity":5}`), 422, "quantity-limit"},
		"far more than that":                  {call{method: "PUT", path: "/v1/cart/items/b1", body: `{"quantity":99999999999999999999}`}, 422, "quantity-limit"},
		"more books than a cart holds":        {post(`{"bookId":"b4"}`), 422, "line-limit"},
		"another state":                       {keyed, 412, "version-mismatch"},
		"a state that can't be":               {call{method: "DELETE", path: "/v1/cart", header: http.Header{"If-Match": {`W/` + tag, `"x"`}}}, 412, "version-mismatch"},
		"a book that is there":                {call{method: "POST", path: "/v1/books", role: "admin", body: `{"bookId":"b1","title":"T","author":"A","unitPrice":1,"stock":1}`}, 409, "book-exists"},
		"replacing a book that isn't there":   {call{method: "PUT", path: "/v1/books/nobody.has", role: "admin", body: put.body}, 404, "book-not-found"},
		"replacing another version of a book": {call{method: "PUT", path: "/v1/books/b1", role: "admin", body: put.body, header: http.Header{"If-Match": {`"7"`}}}, 412, "version-mismatch"},
		"a cursor of one's own":               {call{method: "GET", path: "/v1/books?cursor=x"}, 400, "invalid-request"},
	} {
		t.Run(claim, func(t *testing.T) {
			p := a.refused(t, tc.call, tc.status, tc.slug)
			if p.Version != nil && strings.HasPrefix(tc.call.path, "/v1/cart") && *p.Version != was.Version {
				t.Errorf("it is said to be at version %d, want %d", *p.Version, was.Version)
			}
		})
	}
	if now, after := a.cart(t); after != tag || now.Totals != was.Totals {
		t.Errorf("the cart is %s %+v, was %s %+v", after, now, tag, was)
	}
	keyed.header.Del("If-Match")
	if got := a.do(t, keyed); got.status != 200 || got.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("what was refused, sent again under its key: %d %s", got.status, got.body)
	}
	other := keyed
	other.body = `{"bookId":"b2"}`
	a.refused(t, other, 422, "idempotency-key-reused")
}

func TestConcurrentRepeatsAreOneChangeWithOneAnswer(t *testing.T) {
	t.Parallel()
	a := stocked(t, enginetest.Redis(t))
	a.shelve(t, "b1", 5)
	c := post(`{"bookId":"b1","quantity":2}`)
	c.header = http.Header{"Idempotency-Key": {"k1"}}
	answers := make([]answer, 32)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = a.do(t, c) })
	}
	all.Wait()
	first := 0
	for _, got := range answers {
		if got.status != 200 || !bytes.Equal(got.body, answers[0].body) || got.header.Get("Etag") != answers[0].header.Get("Etag") {
			t.Errorf("got %d %s, another got %s", got.status, got.body, answers[0].body)
		}
		if got.header.Get("Idempotent-Replayed") == "" {
			first++
		}
	}
	if now, _ := a.cart(t); first != 1 || now.Version != 1 || now.TotalQuantity != 2 {
		t.Errorf("%d answers were the first, and the cart is %+v", first, now)
	}
}

func TestBooksAreFoundAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	a := stocked(t, enginetest.Redis(t))
	for _, id := range []string{"b1", "b2", "b3"} {
		a.shelve(t, id, 5)
	}
	var page struct {
		Items      []schemas.Book
		NextCursor string
	}
	seen := ""
	for path := "/v1/books?limit=2"; ; path = "/v1/books?limit=2&cursor=" + page.NextCursor {
		page.NextCursor = ""
		if err := json.Unmarshal(a.do(t, call{method: "GET", path: path}).body, &page); err != nil {
			t.Fatal(err)
		}
		for _, b := range page.Items {
			seen += b.BookID + " "
		}
		if page.NextCursor == "" {
			break
		}
	}
	if seen != "b1 b2 b3 " {
		t.Errorf("the pages hold %s", seen)
	}
	got := a.do(t, call{method: "PATCH", path: "/v1/books/b1", role: "admin", body: `{"stock":0,"isbn":"9780141439587"}`, header: http.Header{"If-Match": {`"1"`}}})
	if got.status != 200 || got.header.Get("Etag") != `"2"` || !strings.Contains(string(got.body), `"status":"out_of_stock"`) {
		t.Errorf("patched: %d %s", got.status, got.body)
	}
	for range 2 {
		if got := a.do(t, call{method: "DELETE", path: "/v1/books/b1", role: "admin"}); got.status != 204 {
			t.Errorf("deleted: %d %s", got.status, got.body)
		}
	}
	if got := a.do(t, call{method: "GET", path: "/v1/books/b1", header: http.Header{"If-None-Match": {`"3"`}}}); got.status != 304 {
		t.Errorf("the book after it was deleted: %d %s %s", got.status, got.header.Get("Etag"), got.body)
	}
	if got := a.do(t, call{method: "GET", path: "/v1/books?status=discontinued&q=title%20B1"}); !strings.Contains(string(got.body), `"bookId":"b1"`) || strings.Contains(string(got.body), `"bookId":"b2"`) {
		t.Errorf("found %s", got.body)
	}
}

func TestWithoutRedisCartsAreUnavailable(t *testing.T) {
	t.Parallel()
	server := enginetest.EmbeddedRedis(t)
	a := stocked(t, server.Addr)
	a.shelve(t, "b1", 5)
	if got := a.do(t, post(`{"bookId":"b1"}`)); got.status != 200 {
		t.Fatalf("with Redis: %d %s", got.status, got.body)
	}
	server.Stop()
	if p := a.refused(t, call{method: "GET", path: "/v1/cart"}, 503, "unavailable"); p.Applied != "" {
		t.Errorf("a read tells applied %q", p.Applied)
	}
	// Connections that were open may have taken the call with them; once none is left, nothing is sent.
	end := time.Now().Add(10 * time.Second)
	for {
		got := a.do(t, post(`{"bookId":"b1"}`))
		if p := got.problem(t); got.status != 503 || got.header.Get("Retry-After") == "" {
			t.Fatalf("without Redis: %d %s", got.status, got.body)
		} else if p.Applied == "no" {
			break
		}
		if time.Now().After(end) {
			t.Fatal("never said that nothing was applied")
		}
	}
	if got := a.do(t, call{method: "GET", path: "/v1/books/b1"}); got.status != 200 {
		t.Errorf("a book: %d", got.status)
	}
}
