// Package rest is the HTTP API: routes, who may call them, and what their answers look like. It decides nothing about
// carts or books; it turns strict requests into calls of their stores, and every error into one of the contract's
// problems.
package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/trace"

	"cartstream/api/book"
	"cartstream/api/cart"
	"cartstream/schemas"
	"cartstream/schemas/link"
	"cartstream/schemas/token"
)

// Carts is where carts are read and changed. A cart.Store is one.
type Carts interface {
	Get(ctx context.Context, user string) (cart.View, error)
	Add(ctx context.Context, r cart.Request, bookID string, quantity int64) (cart.Result, error)
	Set(ctx context.Context, r cart.Request, bookID string, quantity int64) (cart.Result, error)
	Remove(ctx context.Context, r cart.Request, bookID string) (cart.Result, error)
	Clear(ctx context.Context, r cart.Request) (cart.Result, error)
	Acknowledge(ctx context.Context, r cart.Request, bookID string) (cart.Result, error)
}

// Books is the catalogue. A book.Store is one.
type Books interface {
	Get(ctx context.Context, bookID string) (schemas.Book, error)
	List(ctx context.Context, q book.Query) (book.Page, error)
	Create(ctx context.Context, r book.Request, bookID string, d book.Draft) (schemas.Book, error)
	Put(ctx context.Context, r book.Request, bookID string, d book.Draft) (schemas.Book, error)
	Patch(ctx context.Context, r book.Request, bookID string, p book.Patch) (schemas.Book, error)
	Delete(ctx context.Context, r book.Request, bookID string) error
}

// Tokens checks who calls. A token.Verifier is one.
type Tokens interface {
	Verify(ctx context.Context, raw string) (token.Claims, error)
}

// Config is what the API needs. Every field is required but Links and Tracer.
type Config struct {
	Settings
	Carts  Carts
	Books  Books
	Tokens Tokens
	// Links checks the links in mails; nil where nothing signs any.
	Links   Links
	OptOuts OptOuts
	// Live serves GET /v1/cart/live. It checks token and origin itself.
	Live       http.Handler
	Readiness  Readiness
	Registerer prometheus.Registerer
	// Gatherer is what /metrics shows.
	Gatherer prometheus.Gatherer
	// Tracer begins the spans of calls, nil for none: then they cost nothing.
	Tracer trace.Tracer
	Log    *slog.Logger
}

// server is what the handlers share.
type server struct {
	Config
	limits   *limits
	metrics  *metrics
	refusals *refusals
}

// New returns the handler of the whole HTTP API. The error says what is wrong with the settings.
func New(c Config) (http.Handler, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	if err := engine.SetTrustedProxies(c.TrustedProxies); err != nil {
		return nil, fmt.Errorf("TRUSTED_PROXIES: %w", err)
	}
	s := &server{
		Config:   c,
		limits:   newLimits(c.RateLimit),
		refusals: newRefusals(c.Log),
	}
	var err error
	if s.metrics, err = newMetrics(c.Registerer); err != nil {
		return nil, err
	}
	s.routes(engine)
	return engine, nil
}

// livePath is where WebSockets connect.
const livePath = "/v1/cart/live"

func (s *server) routes(e *gin.Engine) {
	// A path means one thing: nothing is cleaned, completed or redirected, and an escaped slash is part of an id.
	e.RedirectTrailingSlash, e.RedirectFixedPath = false, false
	e.UseRawPath, e.UnescapePathValues = true, true
	e.HandleMethodNotAllowed = true
	e.Use(s.around)
	e.NoRoute(s.admit(anyone, func(*gin.Context, token.Claims) error { return errNotFound }))
	e.NoMethod(s.admit(anyone, func(*gin.Context, token.Claims) error { return errMethodNotAllowed }))

	get := func(path string, h gin.HandlerFunc) {
		e.GET(path, h)
		e.HEAD(path, h)
	}
	get("/healthz", s.health)
	get("/readyz", s.ready())
	get("/metrics", gin.WrapH(promhttp.HandlerFor(s.Gatherer, promhttp.HandlerOpts{})))

	const item, title = "/v1/cart/items/:bookId", "/v1/books/:bookId"
	get("/v1/openapi.json", s.admit(anyone, openAPI))

	get("/v1/cart", s.admit(customer, s.getCart))
	get("/v1/cart/total", s.admit(customer, s.getTotal))
	e.POST("/v1/cart/items", s.admit(customer, s.addItem))
	e.PUT(item, s.admit(customer, s.setItem))
	e.DELETE(item, s.admit(customer, s.removeItem))
	e.DELETE("/v1/cart", s.admit(customer, s.clearCart))
	e.POST(item+"/acknowledge", s.admit(customer, s.acknowledgeItem))
	e.GET(livePath, s.admit(anyone, func(c *gin.Context, _ token.Claims) error {
		s.Live.ServeHTTP(c.Writer, c.Request)
		return nil
	}))

	get(link.UnsubscribePath, s.admit(anyone, s.askUnsubscribe))
	e.POST(link.UnsubscribePath, s.admit(anyone, s.unsubscribe))

	get("/v1/books", s.admit(anyone, s.listBooks))
	get(title, s.admit(anyone, s.getBook))
	e.POST("/v1/books", s.admit(admin, s.createBook))
	e.PUT(title, s.admit(admin, s.putBook))
	e.PATCH(title, s.admit(admin, s.patchBook))
	e.DELETE(title, s.admit(admin, s.deleteBook))
}

// around is what every request passes: its answer is counted, browsers of allowed origins may read it, and a panic is
// an answer too.
func (s *server) around(c *gin.Context) {
	arrived := time.Now()
	if s.Tracer != nil {
		span := s.begin(c)
		defer end(c, span)
	}
	defer func() {
		if cause := recover(); cause != nil {
			s.recovered(c, cause)
		}
		s.metrics.observe(c, arrived)
	}()
	if s.cors(c) {
		s.preflight(c)
		return
	}
	c.Next()
}

// recovered answers for a handler that panicked. Where it had begun to answer, the connection is cut, so that nobody
// takes half an answer for a whole one.
func (s *server) recovered(c *gin.Context, cause any) {
	err, ok := cause.(error)
	if ok && errors.Is(err, http.ErrAbortHandler) {
		panic(cause)
	}
	s.refusals.panicked(c.Request, cause)
	if c.Writer.Written() {
		panic(http.ErrAbortHandler)
	}
	c.Abort()
	s.refusals.answer(c.Writer, c.Request, internal, nil)
}
