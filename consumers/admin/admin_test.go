package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"cartstream/api/cart"
	"cartstream/consumers/admin"
	"cartstream/schemas"
	"cartstream/schemas/env"
	"cartstream/schemas/token"
)

const secret = "of-the-tests"

// signed returns a token of the claims, valid for an hour.
func signed(t *testing.T, user, role string, more ...func(jwt.MapClaims)) string {
	t.Helper()
	claims := jwt.MapClaims{"sub": user, "role": role, "exp": time.Now().Add(time.Hour).Unix()}
	for _, change := range more {
		change(claims)
	}
	raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// ops is a Handler and what it logged.
type ops struct {
	*admin.Handler
	log strings.Builder
}

func serve(t *testing.T, routes ...admin.Route) *ops {
	t.Helper()
	o := &ops{}
	log := slog.New(slog.NewTextHandler(&o.log, nil))
	tokens, err := token.New(env.JWT{Secret: secret}, log)
	if err != nil {
		t.Fatal(err)
	}
	o.Handler = admin.New(tokens, log, routes...)
	return o
}

// call makes a call as an admin.
func (o *ops) call(t *testing.T, method, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+signed(t, "boss", "admin"))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	o.ServeHTTP(w, r)
	return w
}

// problem is what a refusal says.
type problem struct {
	Type, Title, Detail, Instance, Applied string
	Status                                 int
	Errors                                 []admin.Fault
}

// refused holds the answer against the shape of a problem.
func refused(t *testing.T, w *httptest.ResponseRecorder, status int, slug string) (p problem) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	if w.Code != status || p.Status != status || p.Type != "/problems/"+slug || p.Title == "" || p.Detail == "" || p.Instance == "" ||
		w.Header().Get("Content-Type") != "application/problem+json" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v %s, want %d %s", w.Code, w.Header(), w.Body, status, slug)
	}
	return p
}

var hello = admin.Route{Pattern: "GET /admin/hello/{name}", Handle: func(w http.ResponseWriter, r *http.Request) error {
	admin.Answer(w, http.StatusOK, map[string]string{"hello": r.PathValue("name"), "by": admin.Subject(r.Context())})
	return nil
}}

func TestOnlyAnAdminIsServed(t *testing.T) {
	o := serve(t, hello)
	for claim, c := range map[string]struct {
		authorization, slug string
		status              int
	}{
		"no token":                    {"", "unauthorized", 401},
		"another scheme":              {"Basic Ym9zczpib3Nz", "unauthorized", 401},
		"no token at all":             {"Bearer x", "unauthorized", 401},
		"a customer":                  {"Bearer " + signed(t, "u1", "customer"), "forbidden", 403},
		"no role":                     {"Bearer " + signed(t, "u1", ""), "forbidden", 403},
		"another spelling of admin":   {"Bearer " + signed(t, "u1", "Admin"), "forbidden", 403},
		"an admin whose time is over": {"Bearer " + signed(t, "u1", "admin", func(c jwt.MapClaims) { c["exp"] = 1 }), "unauthorized", 401},
	} {
		t.Run(claim, func(t *testing.T) {
			for _, path := range []string{"/admin/hello/you", "/admin/nothing"} {
				w := o.call(t, "GET", path, "", func(r *http.Request) { r.Header.Set("Authorization", c.authorization) })
				refused(t, w, c.status, c.slug)
				if challenged := w.Header().Get("WWW-Authenticate") != ""; challenged != (c.status == 401) {
					t.Errorf("WWW-Authenticate: %q", w.Header().Get("WWW-Authenticate"))
				}
			}
		})
	}
	if w := o.call(t, "GET", "/admin/hello/you", ""); w.Code != 200 || w.Body.String() != `{"by":"boss","hello":"you"}` {
		t.Errorf("an admin got %d %s", w.Code, w.Body)
	}
	if strings.Contains(o.log.String(), "eyJ") {
		t.Errorf("a token is logged:\n%s", &o.log)
	}
}

type away struct{}

func (away) Verify(context.Context, string) (token.Claims, error) {
	return token.Claims{}, fmt.Errorf("read keys: %w", schemas.ErrUnavailable)
}

func TestKeysThatCanNotBeReadAreNoFaultOfTheToken(t *testing.T) {
	o := &ops{Handler: admin.New(away{}, slog.New(slog.DiscardHandler), hello)}
	w := o.call(t, "GET", "/admin/hello/you", "")
	refused(t, w, 503, "unavailable")
	if w.Header().Get("Retry-After") != "1" {
		t.Errorf("headers %v", w.Header())
	}
}

func TestWhatIsNotThereIsAProblem(t *testing.T) {
	o := serve(t, hello, admin.Route{Pattern: "POST /admin/hello/{name}", Handle: hello.Handle})
	refused(t, o.call(t, "GET", "/admin", ""), 404, "not-found")
	refused(t, o.call(t, "GET", "/admin/hello/", ""), 404, "not-found")
	refused(t, o.call(t, "GET", "/admin/hello/a/b", ""), 404, "not-found")
	w := o.call(t, "DELETE", "/admin/hello/you", "")
	refused(t, w, 405, "method-not-allowed")
	if allow := w.Header().Get("Allow"); allow != "GET, HEAD, POST" {
		t.Errorf("Allow: %q", allow)
	}
}

func TestAnErrorIsAnsweredByTheTable(t *testing.T) {
	for claim, c := range map[string]struct {
		err    error
		status int
		slug   string
		shows  string
	}{
		"what isn't there": {fmt.Errorf("letter x: %w", admin.ErrNotFound), 404, "not-found", ""},
		"a faulty request": {admin.BadRequest("userId", "is none"), 400, "invalid-request", `"errors":[{"field":"userId","message":"is none"}]`},
		"one of the route's own": {fmt.Errorf("replay: %w", &admin.Problem{Slug: "foreign-group", Status: 409, Title: "Foreign", Detail: "Not ours."}),
			409, "foreign-group", `"detail":"Not ours."`},
		"an engine that is away":              {fmt.Errorf("find: %w", schemas.ErrUnavailable), 503, "unavailable", `"applied":"unknown"`},
		"a cart that can't be served":         {&cart.Unavailable{Applied: cart.NotApplied, RetryAfter: 3 * time.Second, Err: errors.New("hush")}, 503, "unavailable", `"applied":"no"`},
		"a cart that can't be read":           {&cart.Unavailable{RetryAfter: time.Second, Err: errors.New("hush")}, 503, "unavailable", `"applied":"unknown"`},
		"time that ran out":                   {fmt.Errorf("find: %w", context.DeadlineExceeded), 503, "unavailable", ""},
		"what nobody foresaw, without a word": {errors.New("hush: password is x"), 500, "internal", ""},
	} {
		t.Run(claim, func(t *testing.T) {
			o := serve(t, admin.Route{Pattern: "POST /admin/fail", Handle: func(http.ResponseWriter, *http.Request) error { return c.err }})
			w := o.call(t, "POST", "/admin/fail", "")
			refused(t, w, c.status, c.slug)
			if !strings.Contains(w.Body.String(), c.shows) || strings.Contains(w.Body.String(), "hush") {
				t.Errorf("body %s", w.Body)
			}
			if c.status == 500 && !strings.Contains(o.log.String(), "hush") {
				t.Errorf("the cause isn't logged:\n%s", &o.log)
			}
		})
	}
}

func TestAPanicIsAnInternalError(t *testing.T) {
	o := serve(t, admin.Route{Pattern: "GET /admin/fail", Handle: func(http.ResponseWriter, *http.Request) error { panic("hush") }})
	w := o.call(t, "GET", "/admin/fail", "")
	refused(t, w, 500, "internal")
	if strings.Contains(w.Body.String(), "hush") || !strings.Contains(o.log.String(), "hush") {
		t.Errorf("body %s, log %s", w.Body, &o.log)
	}
}

func TestWhoChangedWhatIsLogged(t *testing.T) {
	o := serve(t, hello, admin.Route{Pattern: "POST /admin/hello/{name}", Handle: hello.Handle})
	o.call(t, "GET", "/admin/hello/reader", "")
	o.call(t, "POST", "/admin/hello/writer", "")
	if log := o.log.String(); strings.Contains(log, "reader") || !strings.Contains(log, "/admin/hello/writer by=boss done=true") {
		t.Errorf("log:\n%s", log)
	}
}

// order is a body with everything that Decode knows.
type order struct {
	Reason string `json:"reason"`
	Filter struct {
		Group string `json:"group"`
	} `json:"filter"`
	DryRun bool     `json:"dryRun"`
	Rate   *int     `json:"ratePerSecond"`
	Share  float64  `json:"share"`
	IDs    []string `json:"ids"`
}

func TestABodyIsReadStrictly(t *testing.T) {
	var got order
	o := serve(t, admin.Route{Pattern: "POST /admin/order", Handle: func(w http.ResponseWriter, r *http.Request) error {
		got = order{}
		if err := admin.Decode(r, &got); err != nil {
			return err
		}
		admin.Answer(w, http.StatusOK, nil)
		return nil
	}})
	for claim, c := range map[string]struct {
		body   string
		faults []admin.Fault
	}{
		"all of it":               {`{"reason":"r","filter":{"group":"g"},"dryRun":true,"ratePerSecond":5,"share":0.5,"ids":["a"]}`, nil},
		"none of it":              {` {} `, nil},
		"nothing at all":          {``, []admin.Fault{{Field: "body", Message: "is missing"}}},
		"no JSON":                 {`{"reason":`, []admin.Fault{{Field: "body", Message: "is no JSON, or more than one value"}}},
		"two values":              {`{}{}`, []admin.Fault{{Field: "body", Message: "is no JSON, or more than one value"}}},
		"no object":               {`[]`, []admin.Fault{{Field: "body", Message: "must be an object"}}},
		"null":                    {`null`, []admin.Fault{{Field: "body", Message: "must be an object"}}},
		"an unknown member":       {`{"reasons":{"a":[1]},"reason":"r"}`, []admin.Fault{{Field: "reasons", Message: "is not known"}}},
		"another spelling":        {`{"Reason":"r"}`, []admin.Fault{{Field: "Reason", Message: "is not known"}}},
		"an unknown inner member": {`{"filter":{"grp":"g"}}`, []admin.Fault{{Field: "filter.grp", Message: "is not known"}}},
		"a member twice":          {`{"dryRun":true,"dryRun":false}`, []admin.Fault{{Field: "dryRun", Message: "comes twice"}}},
		"wrong types, all told": {`{"reason":1,"filter":"g","dryRun":"yes","ratePerSecond":1.5,"share":"x","ids":[1]}`, []admin.Fault{
			{Field: "reason", Message: "must be a string"}, {Field: "filter", Message: "must be an object"},
			{Field: "dryRun", Message: "must be true or false"}, {Field: "ratePerSecond", Message: "must be an integer"},
			{Field: "share", Message: "must be a number"}, {Field: "ids", Message: "must be a list"}}},
		"null members": {`{"reason":null,"ratePerSecond":null}`, []admin.Fault{
			{Field: "reason", Message: "must be a string"}, {Field: "ratePerSecond", Message: "must be an integer"}}},
	} {
		t.Run(claim, func(t *testing.T) {
			w := o.call(t, "POST", "/admin/order", c.body)
			if c.faults == nil {
				if w.Code != 200 {
					t.Errorf("%d %s", w.Code, w.Body)
				}
				return
			}
			if p := refused(t, w, 400, "invalid-request"); !slices.Equal(p.Errors, c.faults) {
				t.Errorf("faults %v", p.Errors)
			}
		})
	}
	o.call(t, "POST", "/admin/order", `{"reason":"r","filter":{"group":"g"},"dryRun":true,"ratePerSecond":5,"share":0.5,"ids":["a"]}`)
	if got.Reason != "r" || got.Filter.Group != "g" || !got.DryRun || *got.Rate != 5 || got.Share != 0.5 || got.IDs[0] != "a" {
		t.Errorf("read %+v", got)
	}
	t.Run("a body that doesn't say that it is JSON", func(t *testing.T) {
		for _, media := range []string{"", "text/plain", "application/json; charset=latin1", "application/"} {
			w := o.call(t, "POST", "/admin/order", `{}`, func(r *http.Request) { r.Header.Set("Content-Type", media) })
			refused(t, w, 415, "unsupported-media-type")
		}
	})
	t.Run("more than 64 KiB, with and without a length", func(t *testing.T) {
		large := `{"reason":"` + strings.Repeat("x", 64<<10) + `"}`
		refused(t, o.call(t, "POST", "/admin/order", large), 413, "payload-too-large")
		refused(t, o.call(t, "POST", "/admin/order", large, func(r *http.Request) { r.ContentLength = -1 }), 413, "payload-too-large")
	})
}
