package blackbox

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"cartstream/schemas"
)

// collector takes traces by OTLP over HTTP.
type collector struct {
	*httptest.Server
	mu    sync.Mutex
	spans map[string][]*tracepb.Span // by trace
	of    map[*tracepb.Span]string   // the service
	fault error
}

func collect(t *testing.T) *collector {
	t.Helper()
	c := &collector{spans: map[string][]*tracepb.Span{}, of: map[*tracepb.Span]string{}}
	c.Server = httptest.NewServer(http.HandlerFunc(c.take))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) take(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var q collectorpb.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &q)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || r.URL.Path != "/v1/traces" {
		c.fault = fmt.Errorf("%s: %w", r.URL.Path, err)
	}
	for _, process := range q.ResourceSpans {
		service := ""
		for _, a := range process.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		for _, scope := range process.ScopeSpans {
			for _, s := range scope.Spans {
				id := hex.EncodeToString(s.TraceId)
				c.spans[id], c.of[s] = append(c.spans[id], s), service
			}
		}
	}
}

// trace returns the spans of a trace, by "service: name".
func (c *collector) trace(id string) (map[string]*tracepb.Span, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[string]*tracepb.Span{}
	for _, s := range c.spans[id] {
		found[c.of[s]+": "+s.Name] = s
	}
	return found, c.fault
}

func TestOneCallIsOneTraceFromTheCallToTheConsumers(t *testing.T) {
	c := collect(t)
	s := start(t, options{apis: 1, consumers: 1, env: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL, "OTEL_BSP_SCHEDULE_DELAY=50"}})
	books := createBooks(t, s, func(int) string { return "Emma" }, 1)

	const trace, parent, user = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "ann@example.com"
	add := func(traceParent string) {
		t.Helper()
		q := addItem(books[0], 1)
		req, err := http.NewRequestWithContext(t.Context(), q.method, "http://"+s.apis[0].addr+q.path, strings.NewReader(q.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = http.Header{"Authorization": {"Bearer " + token(user, "")}, "Content-Type": {"application/json"}, "Traceparent": {traceParent}}
		resp, err := httpClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("add: %d", resp.StatusCode)
		}
	}
	add("00-" + trace + "-" + parent + "-01")

	want := []string{
		"cartstream-api: POST /v1/cart/items", "cartstream-api: send cart.events.v1",
		"cartstream-consumers: persist process cart.events.v1", "cartstream-consumers: push process cart.events.v1",
		"cartstream-consumers: state process cart.events.v1",
	}
	var spans map[string]*tracepb.Span
	eventually(t, "the trace is whole", func() (err error) {
		spans, err = c.trace(trace)
		if names := slices.Sorted(maps.Keys(spans)); err == nil && !slices.Equal(names, want) {
			err = fmt.Errorf("it has %q", names)
		}
		return err
	})
	call := spans[want[0]]
	if got := hex.EncodeToString(call.ParentSpanId); got != parent {
		t.Errorf("the call is a child of %s", got)
	}
	for _, name := range want[1:] {
		if got := hex.EncodeToString(spans[name].ParentSpanId); got != hex.EncodeToString(call.SpanId) {
			t.Errorf("%s is a child of %s, not of the call", name, got)
		}
	}
	for name, span := range spans {
		if text := span.String(); strings.Contains(text, user) || strings.Contains(text, books[0]) {
			t.Errorf("%s tells whose cart it is, or what is in it: %s", name, text)
		}
	}
	carried := "00-" + trace + "-" + hex.EncodeToString(call.SpanId) + "-01"
	for _, topic := range []string{schemas.CartEvents, schemas.CartState} {
		eventually(t, topic+" carries the call's span", func() error {
			headers := map[string]string{}
			for _, r := range readTopic(t, s.brokers, topic) {
				for _, h := range r.Headers {
					headers[h.Key] = string(h.Value)
				}
			}
			if got := headers[schemas.HeaderTraceParent]; got != carried {
				return fmt.Errorf("%q, want %q", got, carried)
			}
			return nil
		})
	}

	c.Close() // nothing waits for a collector that is away
	add("00-" + strings.Repeat("1", 32) + "-" + parent + "-01")
	eventually(t, "the change is in MongoDB", func() error {
		n, err := collection(t, s).CountDocuments(context.Background(), map[string]any{"_id": user, "version": 2})
		if err == nil && n != 1 {
			err = fmt.Errorf("%d documents", n)
		}
		return err
	})
}
