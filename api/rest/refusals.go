package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/time/rate"

	"cartstream/api/book"
	"cartstream/api/cart"
	"cartstream/api/live"
	"cartstream/schemas/link"
	"cartstream/schemas/token"
)

// refusals turns errors into answers, and is where they are logged: once each, those that are our fault.
type refusals struct {
	log *slog.Logger
	// An outage refuses every call; one line a second tells it as well.
	outage rate.Sometimes
}

// Refuse returns what answers a request with the problem that an error is. It is for handlers that are mounted here but
// answer for themselves, like the WebSocket gateway.
func Refuse(log *slog.Logger) func(http.ResponseWriter, *http.Request, error) {
	r := newRefusals(log)
	return func(w http.ResponseWriter, req *http.Request, err error) { r.refuse(w, req, "", err) }
}

func newRefusals(log *slog.Logger) *refusals {
	return &refusals{log: log, outage: rate.Sometimes{Interval: time.Second}}
}

// answered is the body of a problem.
type answered struct {
	Type     string  `json:"type"`
	Title    string  `json:"title"`
	Status   int     `json:"status"`
	Detail   string  `json:"detail"`
	Instance string  `json:"instance"`
	Errors   []Fault `json:"errors,omitempty"`
	Epoch    *int64  `json:"epoch,omitempty"`
	Version  *int64  `json:"version,omitempty"`
	Applied  string  `json:"applied,omitempty"`
}

// refuse answers with the problem that the error is. Nothing of the error's own text is told.
func (s *refusals) refuse(w http.ResponseWriter, r *http.Request, user string, err error) {
	s.answer(w, r, s.note(r, user, err), err)
}

// note returns the problem that the error is, and logs it where it is our fault.
func (s *refusals) note(r *http.Request, user string, err error) problem {
	p := find(err)
	attributes := []any{"method", r.Method, "path", r.URL.Path, "user", user, "error", err}
	switch p.slug {
	case internal.slug:
		s.log.ErrorContext(r.Context(), "request failed", attributes...)
	case unavailable.slug:
		s.outage.Do(func() { s.log.WarnContext(r.Context(), "request not served, one of maybe many", attributes...) })
	}
	return p
}

// panicked logs what a handler panicked with.
func (s *refusals) panicked(r *http.Request, cause any) {
	s.log.ErrorContext(r.Context(), "handler panicked", "method", r.Method, "path", r.URL.Path, "error", fmt.Sprint(cause),
		"stack", string(debug.Stack()))
}

func (s *refusals) answer(w http.ResponseWriter, r *http.Request, p problem, err error) {
	body := answered{
		Type: "/problems/" + p.slug, Title: p.title, Status: p.status, Detail: p.detail, Instance: r.URL.EscapedPath(),
		Errors: told(err),
	}
	h := w.Header()
	var (
		ofCart *cart.VersionMismatch
		ofBook *book.VersionMismatch
	)
	switch {
	case errors.As(err, &ofCart):
		body.Epoch, body.Version = &ofCart.Epoch, &ofCart.Version
	case errors.As(err, &ofBook):
		body.Version = &ofBook.Version
	case p.status == http.StatusUnauthorized && errors.Is(err, token.ErrInvalid):
		h.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	case p.status == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case p.status == http.StatusTooManyRequests:
		h.Set("Retry-After", "1")
	case p.status == http.StatusServiceUnavailable:
		applied, after := outcome(err)
		if changes(r.Method) {
			body.Applied = applied
		}
		h.Set("Retry-After", strconv.Itoa(max(1, int((after+time.Second-1)/time.Second))))
	case p.status == http.StatusUnsupportedMediaType && r.Method == http.MethodPatch:
		h.Set("Accept-Patch", mergePatch+", "+plainJSON)
	}
	h.Set("Cache-Control", "no-store")
	encoded, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("rest: encode a problem: %v", err)) // it holds nothing that JSON lacks
	}
	send(w, p.status, "application/problem+json", encoded)
}

// told returns the faults that the error names.
func told(err error) []Fault {
	var (
		ours    *invalid
		refused *book.Invalid
	)
	switch {
	case errors.As(err, &ours):
		return ours.faults
	case errors.As(err, &refused):
		var f faults
		for _, one := range refused.Fields {
			f.add(one.Field, one.Message)
		}
		return f
	case errors.Is(err, live.ErrNotWebSocket):
		return []Fault{{"Upgrade", "must be websocket, in a handshake as in RFC 6455"}}
	case errors.Is(err, link.ErrInvalid):
		return []Fault{{"token", "is none that a mail's link holds"}}
	case errors.Is(err, book.ErrBadCursor):
		return []Fault{{"cursor", "is none that a page named as its nextCursor"}}
	}
	return nil
}

// outcome says whether a call that was not answered was applied, and when to try again. Where nobody knows, it may have
// been.
func outcome(err error) (applied string, after time.Duration) {
	var (
		ofCart *cart.Unavailable
		ofBook *book.Unavailable
	)
	switch {
	case errors.As(err, &ofCart):
		applied, after = string(ofCart.Applied), ofCart.RetryAfter
	case errors.As(err, &ofBook):
		applied, after = string(ofBook.Applied), ofBook.RetryAfter
	}
	if applied == "" {
		applied = string(cart.MaybeApplied)
	}
	return applied, after
}

// changes reports whether calls of this method are mutations.
func changes(method string) bool { return method != http.MethodGet && method != http.MethodHead }

// send writes a whole answer.
func send(w http.ResponseWriter, status int, mediaType string, body []byte) {
	h := w.Header()
	h["Content-Type"] = []string{mediaType}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone; nobody is left to tell
}
