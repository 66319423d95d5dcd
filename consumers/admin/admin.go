// Package admin is the ops API: all that is under /admin of the consumers' ops server. It says who may call, reads bodies
// strictly and answers errors as the API does; what the calls do is a table of Routes, most of which others hand in.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"

	"cartstream/schemas/token"
)

// Route is one call of the ops API.
type Route struct {
	// Pattern as net/http's ServeMux takes it: "POST /admin/dead-letters/{id}/replay".
	Pattern string
	// Handle answers the call, or returns why it doesn't; then it has written nothing. What the caller learns of an error
	// is in problem.go's table: an error that is in none of its rows is an internal one, and is logged.
	Handle func(w http.ResponseWriter, r *http.Request) error
}

// Tokens checks the callers' tokens.
type Tokens interface {
	// Verify returns what the token says. The error has token.ErrInvalid or schemas.ErrUnavailable in its chain.
	Verify(ctx context.Context, raw string) (token.Claims, error)
}

// Handler serves the routes to callers of role admin, and to nobody else. It may be used by many goroutines.
type Handler struct {
	tokens Tokens
	mux    *http.ServeMux
	log    *slog.Logger
}

// New returns the Handler of the routes. Two routes of one pattern panic.
func New(tokens Tokens, log *slog.Logger, routes ...Route) *Handler {
	h := &Handler{tokens: tokens, mux: http.NewServeMux(), log: log}
	for _, route := range routes {
		h.mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := h.call(route, w, r); err != nil {
				h.refuse(w, r, err)
			}
		})
	}
	return h
}

// ServeHTTP answers every path: whoever is no admin learns of none that it isn't there.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who, err := h.caller(r)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	r = r.WithContext(context.WithValue(r.Context(), subject{}, who.User))
	if r.ContentLength > maxBody {
		h.refuse(w, r, errTooLarge)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	literal(r)
	if _, pattern := h.mux.Handler(r); pattern == "" {
		h.refuse(w, r, h.lost(r))
		return
	}
	h.mux.ServeHTTP(w, r)
}

// literal has the mux take . and .. in the path as what they are, users' ids, and not clean them away.
func literal(r *http.Request) {
	parts := strings.Split(r.URL.EscapedPath(), "/")
	for i, part := range parts {
		if part == "." || part == ".." {
			parts[i] = strings.ReplaceAll(part, ".", "%2e")
		}
	}
	r.URL.RawPath = strings.Join(parts, "/")
}

// call keeps a record of who changed what: an ops call that changes something is rare, and asked about later.
func (h *Handler) call(route Route, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("handler panicked: %v\n%s", cause, debug.Stack())
		}
		if changes(r.Method) {
			h.log.InfoContext(r.Context(), "ops call", "method", r.Method, "path", r.URL.Path, "by", Subject(r.Context()), "done", err == nil)
		}
	}()
	return route.Handle(w, r)
}

// caller finds out who calls.
func (h *Handler) caller(r *http.Request) (token.Claims, error) {
	raw := token.Bearer(r.Header)
	if raw == "" {
		return token.Claims{}, errNoToken
	}
	who, err := h.tokens.Verify(r.Context(), raw)
	if err != nil {
		return token.Claims{}, fmt.Errorf("ops call: %w", err)
	}
	if !who.Admin {
		return who, fmt.Errorf("%s %s by %s: %w", r.Method, r.URL.Path, who.User, errForbidden)
	}
	return who, nil
}

// lost says why there is no route for the request: the path is unknown, or its method.
func (h *Handler) lost(r *http.Request) error {
	found := &probe{header: http.Header{}}
	h.mux.ServeHTTP(found, r)
	if found.status == http.StatusMethodNotAllowed {
		return &notAllowed{found.header.Get("Allow")}
	}
	return ErrNotFound
}

// probe is an answer that goes nowhere.
type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) WriteHeader(status int)      { p.status = status }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }

type subject struct{}

// Subject returns the id of the caller, to be told in audit trails; "" outside of a Route.
func Subject(ctx context.Context) string {
	user, _ := ctx.Value(subject{}).(string)
	return user
}

// changes reports whether calls of this method are mutations.
func changes(method string) bool { return method != http.MethodGet && method != http.MethodHead }

var errNoToken = errors.New("no token")
