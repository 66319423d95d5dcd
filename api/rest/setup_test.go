package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"

	"cartstream/api/book"
	"cartstream/api/cart"
	"cartstream/api/live"
	"cartstream/api/rest"
	"cartstream/schemas"
	"cartstream/schemas/env"
	"cartstream/schemas/token"
)

const secret = "a secret for tests"

// api is one HTTP API on stores that answer what a test says.
type api struct {
	url    string
	client http.Client
	carts  *carts
	books  *books
	log    *bytes.Buffer
}

// setup starts an API, changed as the test wants it.
func setup(t *testing.T, changes ...func(*rest.Config)) *api {
	t.Helper()
	a, handler := handle(t, changes)
	server := httptest.NewUnstartedServer(nil)
	server.Config = rest.Server(handler, slog.New(slog.DiscardHandler))
	server.Start()
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

// direct is an API that is called without a network, so that it can be in a bubble of testing/synctest.
func direct(t *testing.T, changes ...func(*rest.Config)) *api {
	t.Helper()
	a, handler := handle(t, changes)
	a.url = "http://direct.example"
	a.client.Transport = called(func(r *http.Request) (*http.Response, error) {
		r.RemoteAddr = "127.0.0.1:1024"
		if r.Body == nil {
			r.Body = http.NoBody
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Result(), nil
	})
	return a
}

type called func(*http.Request) (*http.Response, error)

func (c called) RoundTrip(r *http.Request) (*http.Response, error) { return c(r) }

func handle(t *testing.T, changes []func(*rest.Config)) (*api, http.Handler) {
	t.Helper()
	a := &api{carts: &carts{view: view, result: cart.Result{Change: change}}, books: &books{book: novel}, log: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(&locked{w: a.log}, nil))
	tokens, err := token.New(env.JWT{Secret: secret}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tokens.Close)
	registry := prometheus.NewRegistry()
	there := func(context.Context) (string, error) { return "", nil }
	config := rest.Config{
		Settings: rest.Settings{BodyLimit: 64 << 10},
		Carts:    a.carts, Books: a.books, Tokens: tokens,
		Live:       http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { rest.Refuse(log)(w, r, live.ErrUnauthorized) }),
		Readiness:  rest.Readiness{Redis: there, Kafka: there, MongoDB: there, Shards: func() (int, int) { return 128, 0 }},
		Registerer: registry, Gatherer: registry, Log: log,
	}
	for _, change := range changes {
		change(&config)
	}
	handler, err := rest.New(config)
	if err != nil {
		t.Fatal(err)
	}
	a.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return a, handler
}

type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// mint returns a token that is valid for an hour unless the claims say otherwise.
func mint(t testing.TB, claims jwt.MapClaims) string {
	t.Helper()
	all := jwt.MapClaims{"exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range claims {
		all[name] = value
	}
	raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, all).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// call is a request. Without a Content-Type of its own, a body is JSON; user u1 makes it unless the header says otherwise.
type call struct {
	method, path string
	body         string
	header       http.Header
	role         string
	reader       io.Reader // sent in chunks in place of body
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// problem is the body of a refusal.
type problem struct {
	Type, Title, Detail, Instance, Applied string
	Status                                 int
	Errors                                 []struct{ Field, Message string }
	Epoch, Version                         *int64
}

func (a answer) problem(t *testing.T) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal(a.body, &p); err != nil {
		t.Fatalf("%d %q is no problem: %v", a.status, a.body, err)
	}
	return p
}

// do makes the call and holds the answer against the OpenAPI document.
func (a *api) do(t *testing.T, c call) answer {
	t.Helper()
	reader := c.reader
	if reader == nil && c.body != "" {
		reader = strings.NewReader(c.body)
	}
	r, err := http.NewRequestWithContext(t.Context(), c.method, a.url+c.path, reader)
	if err != nil {
		t.Fatal(err)
	}
	if reader != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Authorization", "Bearer "+mint(t, jwt.MapClaims{"sub": "u1", "role": c.role}))
	for name, values := range c.header {
		r.Header[name] = values
		if values == nil {
			delete(r.Header, name)
		}
	}
	response, err := a.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	got := answer{response.StatusCode, response.Header, body}
	conform(t, r, got)
	return got
}

// dial opens a connection to the API that says what it likes, and closes it with the test.
func dial(t *testing.T, a *api) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(a.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// refused makes the call and expects it to be refused with the problem.
func (a *api) refused(t *testing.T, c call, status int, slug string) problem {
	t.Helper()
	got := a.do(t, c)
	p := got.problem(t)
	if got.status != status || p.Type != "/problems/"+slug {
		t.Fatalf("got %d %s, want %d %s", got.status, got.body, status, slug)
	}
	path, _, _ := strings.Cut(c.path, "?")
	if p.Status != status || p.Title == "" || p.Detail == "" || p.Instance != path {
		t.Errorf("got %+v, want status %d, a title, a detail and the instance %s", p, status, path)
	}
	if kind := got.header.Get("Content-Type"); kind != "application/problem+json" {
		t.Errorf("Content-Type %q", kind)
	}
	return p
}

// fields returns the names that an invalid-request complains about.
func (p problem) fields() []string {
	var names []string
	for _, e := range p.Errors {
		names = append(names, e.Field)
	}
	return names
}

// document is the published OpenAPI document, tightened: an answer has no other members than those it names.
var document = sync.OnceValue(func() *openapi3.T {
	var tree map[string]any
	if err := json.Unmarshal(schemas.OpenAPI, &tree); err != nil {
		panic(err)
	}
	for _, schema := range tree["components"].(map[string]any)["schemas"].(map[string]any) {
		schema.(map[string]any)["additionalProperties"] = false
	}
	tight, err := json.Marshal(tree)
	if err != nil {
		panic(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(tight)
	if err != nil {
		panic(err)
	}
	return doc
})

// conform holds an answer against the document: its status, headers and body. What the document has no operation for
// must be a problem.
func conform(t *testing.T, r *http.Request, a answer) {
	t.Helper()
	doc := document()
	if r.Method == http.MethodOptions && a.status == http.StatusNoContent {
		return // a preflight is no operation
	}
	route := find(doc, r)
	if route == nil {
		var value any
		if err := json.Unmarshal(a.body, &value); err != nil && r.Method != http.MethodHead {
			t.Fatalf("%s %s: %d %q is no JSON", r.Method, r.URL.Path, a.status, a.body)
		}
		if r.Method != http.MethodHead {
			problems := doc.Components.Schemas["Problem"].Value
			if err := problems.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
				t.Errorf("%s %s: %d %s\n%v", r.Method, r.URL.Path, a.status, a.body, err)
			}
		}
		return
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, Route: route},
		Status:                 a.status,
		Header:                 a.header,
		Options:                &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	input.SetBodyBytes(a.body)
	if err := openapi3filter.ValidateResponse(t.Context(), input); err != nil {
		t.Errorf("%s %s is not as the OpenAPI document says: %d %s\n%v", r.Method, r.URL.Path, a.status, a.body, err)
	}
}

var parameter = regexp.MustCompile(`\{[^}]+\}`)

// find returns the operation that the request is of, nil for none. Where one path fits as it is, it wins.
func find(doc *openapi3.T, r *http.Request) *routers.Route {
	method := r.Method
	for _, path := range doc.Paths.InMatchingOrder() {
		pattern := "^" + parameter.ReplaceAllString(path, "[^/]+") + "$"
		item := doc.Paths.Value(path)
		if regexp.MustCompile(pattern).MatchString(r.URL.EscapedPath()) && item.GetOperation(method) != nil {
			return &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: item.GetOperation(method)}
		}
	}
	return nil
}

// carts is a store of carts that answers as it is told and remembers what it was asked.
type carts struct {
	mu     sync.Mutex
	view   cart.View
	result cart.Result
	err    error
	asked  []asked
	hook   func()
}

type asked struct {
	what, book string
	quantity   int64
	request    cart.Request
}

func (c *carts) note(a asked) (cart.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, a)
	if c.hook != nil {
		c.hook()
	}
	return c.result, c.err
}

// last returns the newest call, and fails the test where none came.
func (c *carts) last(t *testing.T) asked {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.asked) == 0 {
		t.Fatal("the store was not asked")
	}
	return c.asked[len(c.asked)-1]
}

// none fails the test where any call came.
func (c *carts) none(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.asked) > 0 {
		t.Errorf("the store was asked: %+v", c.asked)
	}
}

func (c *carts) Get(_ context.Context, user string) (cart.View, error) {
	_, err := c.note(asked{what: "get", request: cart.Request{User: user}})
	return c.view, err
}

func (c *carts) Add(_ context.Context, r cart.Request, book string, quantity int64) (cart.Result, error) {
	return c.note(asked{"add", book, quantity, r})
}

func (c *carts) Set(_ context.Context, r cart.Request, book string, quantity int64) (cart.Result, error) {
	return c.note(asked{"set", book, quantity, r})
}

func (c *carts) Remove(_ context.Context, r cart.Request, book string) (cart.Result, error) {
	return c.note(asked{"remove", book, 0, r})
}

func (c *carts) Clear(_ context.Context, r cart.Request) (cart.Result, error) {
	return c.note(asked{"clear", "", 0, r})
}

func (c *carts) Acknowledge(_ context.Context, r cart.Request, book string) (cart.Result, error) {
	return c.note(asked{"acknowledge", book, 0, r})
}

// books is a catalogue that answers as it is told and remembers what it was asked.
type books struct {
	mu      sync.Mutex
	book    schemas.Book
	page    book.Page
	err     error
	asked   string
	id      string
	query   book.Query
	draft   book.Draft
	patch   book.Patch
	request book.Request
}

func (b *books) note(what, id string, set func()) (schemas.Book, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked, b.id = what, id
	if set != nil {
		set()
	}
	return b.book, b.err
}

func (b *books) Get(_ context.Context, id string) (schemas.Book, error) {
	return b.note("get", id, nil)
}

func (b *books) List(_ context.Context, q book.Query) (book.Page, error) {
	_, err := b.note("list", "", func() { b.query = q })
	return b.page, err
}

func (b *books) Create(_ context.Context, r book.Request, id string, d book.Draft) (schemas.Book, error) {
	return b.note("create", id, func() { b.request, b.draft = r, d })
}

func (b *books) Put(_ context.Context, r book.Request, id string, d book.Draft) (schemas.Book, error) {
	return b.note("put", id, func() { b.request, b.draft = r, d })
}

func (b *books) Patch(_ context.Context, r book.Request, id string, p book.Patch) (schemas.Book, error) {
	return b.note("patch", id, func() { b.request, b.patch = r, p })
}

func (b *books) Delete(_ context.Context, r book.Request, id string) error {
	_, err := b.note("delete", id, func() { b.request = r })
	return err
}

// What the stores answer unless a test says otherwise.
var (
	emma   = schemas.Line{BookID: "b1", Title: "Emma", UnitPrice: 1299, Quantity: 2, LineTotal: 2598, Availability: schemas.Available}
	change = schemas.CartChanged{
		UserID: "u1", Epoch: 1795341600000, Version: 7, Type: schemas.ItemAdded, Items: []schemas.Line{emma},
		Totals: schemas.Totals{TotalAmount: 2598, TotalQuantity: 2, LineCount: 1}, Currency: "EUR",
		OccurredAt: schemas.Milliseconds(1795341600000),
	}
	view = cart.View{Generation: 1795341600000, Cart: schemas.Cart{
		UserID: "u1", Epoch: 1795341600000, Version: 7, Currency: "EUR", Items: []schemas.Line{emma}, Totals: change.Totals, UpdatedAt: &change.OccurredAt,
	}}
	novel = schemas.Book{BookID: "b1", Title: "Emma", Author: "Jane Austen", UnitPrice: 1299, Currency: "EUR", Stock: 3, Status: schemas.Available, Version: 4}
)
