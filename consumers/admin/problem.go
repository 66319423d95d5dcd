package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"cartstream/api/cart"
	"cartstream/schemas"
	"cartstream/schemas/token"
)

// ErrNotFound says that what the call names isn't there.
var ErrNotFound = errors.New("not found")

var (
	errForbidden = errors.New("not for this role")
	errTooLarge  = errors.New("body too large")
	errMediaType = errors.New("not the media type that is needed")
)

// Fault says what is wrong with a field of the body, a parameter or a header.
type Fault struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Invalid is an error that says everything that is wrong with a request: 400. Its messages are shown to the caller.
type Invalid struct{ Faults []Fault }

// BadRequest returns an Invalid of one fault.
func BadRequest(field, message string) error { return &Invalid{[]Fault{{field, message}}} }

func (e *Invalid) Error() string {
	text := "invalid request"
	for _, f := range e.Faults {
		text += "; " + f.Field + " " + f.Message
	}
	return text
}

// Problem is an error that says by itself what the caller learns, in the terms of RFC 9457: for refusals that one Route
// alone knows. All of it is shown.
type Problem struct {
	Slug   string // the end of type, /problems/<slug>
	Status int
	Title  string
	Detail string
}

func (p *Problem) Error() string { return p.Slug + ": " + p.Detail }

// notAllowed is a method that the path doesn't know.
type notAllowed struct{ allow string }

func (e *notAllowed) Error() string { return "no such method here, only " + e.allow }

var internal = Problem{"internal", http.StatusInternalServerError, "Internal error", "Something went wrong on our side. It has been logged."}

// table says which problem an error is: the first row that matches, or internal where none does. Slugs and titles are those
// of the REST API.
var table = []struct {
	is      func(error) bool
	problem Problem
}{
	{as[*Invalid], Problem{"invalid-request", http.StatusBadRequest, "Invalid request", "The request is not as it has to be; errors names each fault."}},
	{is(errNoToken), Problem{"unauthorized", http.StatusUnauthorized, "Unauthorized", "The call needs a token: Authorization: Bearer …"}},
	{is(token.ErrInvalid), Problem{"unauthorized", http.StatusUnauthorized, "Unauthorized", "The token is not valid, or no longer."}},
	{is(errForbidden), Problem{"forbidden", http.StatusForbidden, "Forbidden", "The token's role may not do this."}},
	{is(ErrNotFound), Problem{"not-found", http.StatusNotFound, "Not found", "What the path names isn't there."}},
	{as[*notAllowed], Problem{"method-not-allowed", http.StatusMethodNotAllowed, "Method not allowed", "The path knows other methods only; Allow names them."}},
	{is(errTooLarge), Problem{"payload-too-large", http.StatusRequestEntityTooLarge, "Payload too large", "The body has more bytes than are taken."}},
	{is(errMediaType), Problem{"unsupported-media-type", http.StatusUnsupportedMediaType, "Unsupported media type", "The body has to be JSON, and Content-Type has to say so."}},

	// A caller that left, or whose time ran out, finds nobody to blame.
	{is(schemas.ErrUnavailable), unavailable},
	{is(context.Canceled), unavailable},
	{is(context.DeadlineExceeded), unavailable},
}

var unavailable = Problem{"unavailable", http.StatusServiceUnavailable, "Unavailable", "This can't be served right now."}

// find returns the problem that the error is.
func find(err error) Problem {
	if own := (*Problem)(nil); errors.As(err, &own) {
		return *own
	}
	for _, row := range table {
		if row.is(err) {
			return row.problem
		}
	}
	return internal
}

func is(target error) func(error) bool {
	return func(err error) bool { return errors.Is(err, target) }
}

func as[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// refuse answers with the problem that the error is. Nothing of the error's own text is told.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := find(err)
	switch p.Status {
	case http.StatusInternalServerError:
		h.log.ErrorContext(r.Context(), "ops call failed", "method", r.Method, "path", r.URL.Path, "by", Subject(r.Context()), "error", err)
	case http.StatusServiceUnavailable:
		h.log.WarnContext(r.Context(), "ops call not served", "method", r.Method, "path", r.URL.Path, "by", Subject(r.Context()), "error", err)
	}
	body := struct {
		Type     string  `json:"type"`
		Title    string  `json:"title"`
		Status   int     `json:"status"`
		Detail   string  `json:"detail"`
		Instance string  `json:"instance"`
		Errors   []Fault `json:"errors,omitempty"`
		Applied  string  `json:"applied,omitempty"`
	}{Type: "/problems/" + p.Slug, Title: p.Title, Status: p.Status, Detail: p.Detail, Instance: r.URL.EscapedPath()}
	var (
		invalid *Invalid
		other   *notAllowed
	)
	header := w.Header()
	switch {
	case errors.As(err, &invalid):
		body.Errors = invalid.Faults
	case errors.As(err, &other):
		header.Set("Allow", other.allow)
	case errors.Is(err, token.ErrInvalid):
		header.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	case p.Status == http.StatusUnauthorized:
		header.Set("WWW-Authenticate", "Bearer")
	case p.Status == http.StatusServiceUnavailable:
		after := time.Second
		if changes(r.Method) {
			body.Applied = string(cart.MaybeApplied)
		}
		if ofCart := (*cart.Unavailable)(nil); errors.As(err, &ofCart) {
			after = max(after, ofCart.RetryAfter)
			if changes(r.Method) && ofCart.Applied != "" {
				body.Applied = string(ofCart.Applied)
			}
		}
		header.Set("Retry-After", strconv.Itoa(int((after+time.Second-1)/time.Second)))
	}
	send(w, p.Status, "application/problem+json", body)
}

// Answer answers with the status and the body as JSON, which no cache keeps. Errors of the connection are nobody's to know.
func Answer(w http.ResponseWriter, status int, body any) { send(w, status, "application/json", body) }

func send(w http.ResponseWriter, status int, mediaType string, body any) {
	encoded, err := json.Marshal(body)
	if err != nil {
		panic("admin: encode an answer: " + err.Error()) // answers hold nothing that JSON lacks
	}
	header := w.Header()
	header.Set("Content-Type", mediaType)
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Length", strconv.Itoa(len(encoded)))
	w.WriteHeader(status)
	_, _ = w.Write(encoded) // whoever asked may be gone
}
