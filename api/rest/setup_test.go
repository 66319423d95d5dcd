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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"

	"cartstream/api/cart"
	"cartstream/api/live"
	"cartstream/api/rest"
	"cartstream/schemas/env"
	"cartstream/schemas/link"
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

	links   *link.Signer
	optOuts *optOuts
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
	a := &api{carts: &carts{view: view, result: cart.Result{Change: change}}, books: &books{book: novel}, log: &bytes.Buffer{}, optOuts: &optOuts{}}
	log := slog.New(slog.NewTextHandler(&locked{w: a.log}, nil))
	tokens, err := token.New(env.JWT{Secret: secret}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tokens.Close)
	if a.links, err = link.New(env.Links{}, env.JWT{Secret: secret}); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	there := func(context.Context) (string, error) { return "", nil }
	config := rest.Config{
		Settings: rest.Settings{BodyLimit: 64 << 10},
		Carts:    a.carts, Books: a.books, Tokens: tokens, Links: a.links, OptOuts: a.optOuts,
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
