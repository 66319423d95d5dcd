package rest_test

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"cartstream/api/cart"
	"cartstream/api/rest"
)

// traced is an API whose spans are kept as the sampler says.
func traced(t *testing.T, sampler sdk.Sampler) (*api, *tracetest.SpanRecorder) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSampler(sampler), sdk.WithSpanProcessor(spans))
	return setup(t, func(c *rest.Config) { c.Tracer = provider.Tracer("test") }), spans
}

func about(s sdk.ReadOnlySpan) map[string]string {
	said := map[string]string{}
	for _, a := range s.Attributes() {
		said[string(a.Key)] = a.Value.String()
	}
	return said
}

const caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"

func TestACallHasASpanThatItsEventsCarryOn(t *testing.T) {
	t.Parallel()
	all := sdk.ParentBased(sdk.AlwaysSample())
	for claim, tc := range map[string]struct {
		sampler sdk.Sampler
		parent  string
		within  bool   // the caller's trace
		flags   string // of what the events carry
		kept    bool
	}{
		"within the caller's trace":                  {all, caller + "01", true, "01", true},
		"in a trace of its own, where none is told":  {all, "", false, "01", true},
		"in a trace of its own, where none is known": {all, "nonsense", false, "01", true},
		"not kept, where the caller's isn't":         {all, caller + "00", true, "00", false},
		"whatever flags will mean one day":           {all, caller + "f9", true, "01", true},
		"not kept, where nothing is":                 {sdk.NeverSample(), caller + "01", true, "00", false},
	} {
		t.Run(claim, func(t *testing.T) {
			t.Parallel()
			a, spans := traced(t, tc.sampler)
			c := add
			c.header = http.Header{"Traceparent": {tc.parent}}
			if got := a.do(t, c); got.status != http.StatusOK {
				t.Fatalf("%d %s", got.status, got.body)
			}
			carried := a.carts.last(t).request.TraceParent
			if within := carried[:36] == caller[:36]; within != tc.within || carried[53:] != tc.flags || strings.HasPrefix(carried, caller) {
				t.Errorf("called with %q, its events carry %q", tc.parent, carried)
			}
			if !tc.kept {
				if len(spans.Ended()) > 0 {
					t.Errorf("%v is kept", spans.Ended()[0].Name())
				}
				return
			}
			if len(spans.Ended()) != 1 {
				t.Fatalf("%d spans", len(spans.Ended()))
			}
			s := spans.Ended()[0]
			if id := s.SpanContext(); carried != "00-"+id.TraceID().String()+"-"+id.SpanID().String()+"-01" {
				t.Errorf("the events carry %s, the span is %v", carried, id)
			}
			if tc.within && s.Parent().SpanID().String() != "00f067aa0ba902b7" {
				t.Errorf("its parent is %v", s.Parent())
			}
		})
	}
}

func TestASpanTellsTheRouteAndTheStatus(t *testing.T) {
	t.Parallel()
	for claim, tc := range map[string]struct {
		call   call
		fails  error
		name   string
		status string
		failed bool
	}{
		"an add":           {call: add, name: "POST /v1/cart/items", status: "200"},
		"a line":           {call: call{method: "PUT", path: "/v1/cart/items/b1", body: `{"quantity":1}`}, name: "PUT /v1/cart/items/{bookId}", status: "200"},
		"a read":           {call: call{method: "GET", path: "/v1/books/b1"}, name: "GET /v1/books/{bookId}", status: "200"},
		"a caller's fault": {call: call{method: "PUT", path: "/v1/cart/items/b1", body: `{}`}, name: "PUT /v1/cart/items/{bookId}", status: "400"},
		"an outage": {call: add, fails: &cart.Unavailable{Applied: cart.NotApplied, Err: errors.New("dial secret-host")}, name: "POST /v1/cart/items",
			status: "503", failed: true},
		"a fault of ours": {call: add, fails: errors.New("u1@example.com: secret-host"), name: "POST /v1/cart/items", status: "500", failed: true},
	} {
		t.Run(claim, func(t *testing.T) {
			t.Parallel()
			a, spans := traced(t, sdk.AlwaysSample())
			a.carts.err = tc.fails
			a.do(t, tc.call)
			if len(spans.Ended()) != 1 {
				t.Fatalf("%d spans", len(spans.Ended()))
			}
			s := spans.Ended()[0]
			said := about(s)
			_, route, _ := strings.Cut(tc.name, " ")
			if s.Name() != tc.name || s.SpanKind() != trace.SpanKindServer || said["http.route"] != route || said["http.response.status_code"] != tc.status {
				t.Errorf("%s: %v", s.Name(), said)
			}
			if failed := s.Status().Code == codes.Error && said["error.type"] == tc.status; failed != tc.failed {
				t.Errorf("%v: %v", s.Status(), said)
			}
			for name, value := range said {
				if strings.Contains(value, "u1") || strings.Contains(value, "secret") || len(s.Events()) > 0 || s.Status().Description != "" {
					t.Errorf("%s tells too much: %s, %v, %v", name, value, s.Events(), s.Status())
				}
			}
		})
	}
}

func TestAPanicEndsItsSpan(t *testing.T) {
	t.Parallel()
	a, spans := traced(t, sdk.AlwaysSample())
	a.carts.hook = func() { panic("secret cause") }
	a.do(t, add)
	if len(spans.Ended()) != 1 || about(spans.Ended()[0])["http.response.status_code"] != "500" {
		t.Errorf("%d spans", len(spans.Ended()))
	}
}

func TestWhatIsNoCallOfTheAPIHasNoSpan(t *testing.T) {
	t.Parallel()
	a, spans := traced(t, sdk.AlwaysSample())
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/v1/nothing", "/v1/cart/live"} {
		a.do(t, call{method: "GET", path: path})
	}
	if n := len(spans.Started()); n > 0 {
		t.Errorf("%d spans", n)
	}
}

func TestACallWithoutTracesDoesNothingForThem(t *testing.T) {
	bearer := mint(t, jwt.MapClaims{"sub": "u1"})
	allocations := func(tracer trace.Tracer) float64 {
		_, h := handle(t, []func(*rest.Config){func(c *rest.Config) { c.Tracer, c.Carts = tracer, fixed{} }})
		return testing.AllocsPerRun(100, func() {
			h.ServeHTTP(&nowhere{http.Header{}}, &http.Request{
				Method: http.MethodPost, URL: &url.URL{Path: "/v1/cart/items"}, Host: "x", RemoteAddr: "127.0.0.1:1",
				Header: http.Header{"Authorization": {"Bearer " + bearer}, "Content-Type": {"application/json"}, "Traceparent": {caller + "00"}},
				Body:   io.NopCloser(strings.NewReader(add.body)),
			})
		})
	}
	without, dropping := allocations(nil), allocations(sdk.NewTracerProvider(sdk.WithSampler(sdk.NeverSample())).Tracer("test"))
	if without >= dropping {
		t.Errorf("%v allocations without traces, %v where each is dropped", without, dropping)
	}
}
