package traces_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spanpb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"cartstream/schemas"
	"cartstream/schemas/env"
	"cartstream/schemas/traces"
)

// taker is a collector that answers as it is told.
type taker struct {
	*httptest.Server
	mu      sync.Mutex
	answer  int
	calls   int
	spans   []*spanpb.Span
	about   map[string]string // of the process
	headers http.Header
}

func collect(t *testing.T) *taker {
	t.Helper()
	c := &taker{answer: http.StatusOK}
	c.Server = httptest.NewServer(http.HandlerFunc(c.take))
	t.Cleanup(c.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "1") // ms
	return c
}

func (c *taker) take(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	body, _ := io.ReadAll(r.Body)
	var q collector.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &q); err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprint(r.URL.Path, err), http.StatusBadRequest)
		return
	}
	if c.answer != http.StatusOK {
		w.WriteHeader(c.answer)
		return
	}
	c.headers, c.about = r.Header, map[string]string{}
	for _, resource := range q.ResourceSpans {
		for _, a := range resource.Resource.Attributes {
			c.about[a.Key] = a.Value.GetStringValue()
		}
		for _, scope := range resource.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
}

func (c *taker) answers(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = status
}

func (c *taker) called() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

func open(t *testing.T, log io.Writer) *traces.Traces {
	t.Helper()
	var settings env.Traces
	if err := env.Parse(&settings); err != nil {
		t.Fatal(err)
	}
	s, err := traces.Open(t.Context(), settings, "the-service", slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestWithoutAnEndpointThereAreNoTraces(t *testing.T) {
	s := open(t, io.Discard)
	if s != nil || s.Tracer() != nil || s.Producer() != nil {
		t.Errorf("%v, %v, %v", s, s.Tracer(), s.Producer())
	}
	s.Close()
}

func TestSpansReachTheCollectorAsTheEnvironmentSays(t *testing.T) {
	c := collect(t)
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20s3cret")
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
	s := open(t, io.Discard)
	_, span := s.Tracer().Start(t.Context(), "a span")
	span.End()
	s.Close()
	if len(c.spans) != 1 || c.spans[0].Name != "a span" || c.about["service.name"] != "the-service" ||
		c.about["deployment.environment.name"] != "staging" || c.headers.Get("Authorization") != "Basic s3cret" {
		t.Errorf("%v of %v, %v", c.spans, c.about, c.headers)
	}
}

func TestANameInTheEnvironmentWinsAndNoSamplerKeepsNothing(t *testing.T) {
	c := collect(t)
	t.Setenv("OTEL_SERVICE_NAME", "shop")
	s := open(t, io.Discard)
	_, span := s.Tracer().Start(t.Context(), "kept")
	span.End()
	s.Close()
	t.Setenv("OTEL_TRACES_SAMPLER", "always_off")
	off := open(t, io.Discard)
	_, span = off.Tracer().Start(t.Context(), "not kept")
	span.End()
	off.Close()
	if len(c.spans) != 1 || c.spans[0].Name != "kept" || c.about["service.name"] != "shop" {
		t.Errorf("%v of %v", c.spans, c.about)
	}
}

func TestACollectorThatTakesNothingIsToldOfOnce(t *testing.T) {
	c := collect(t)
	c.answers(http.StatusForbidden)
	var log locked
	s := open(t, &log)
	for i := range 5 {
		_, span := s.Tracer().Start(t.Context(), "dropped")
		span.End()
		await(t, "it was sent", func() bool { return c.called() > i })
	}
	c.answers(http.StatusOK)
	await(t, "spans are taken again", func() bool {
		_, span := s.Tracer().Start(t.Context(), "taken")
		span.End()
		return strings.Contains(log.String(), "takes spans again")
	})
	c.answers(http.StatusForbidden) // soon after: not told again
	before := c.called()
	_, span := s.Tracer().Start(t.Context(), "dropped")
	span.End()
	await(t, "it was sent", func() bool { return c.called() > before })
	s.Close()
	if got := log.String(); strings.Count(got, "level=WARN") != 1 || strings.Count(got, "\n") != 2 {
		t.Errorf("logged:\n%s", got)
	}
}

func TestACollectorThatIsSilentHoldsNothingUp(t *testing.T) {
	silent := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-silent:
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	defer close(silent)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000") // whoever waits for the collector waits for an hour
	t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "3600000")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
	var log locked
	s := open(t, &log)
	for range 10_000 { // more than any queue holds
		_, span := s.Tracer().Start(t.Context(), "dropped")
		span.End()
	}
	s.Close()
	if !strings.Contains(log.String(), "last spans are dropped") {
		t.Errorf("logged: %s", log.String())
	}
}

func TestARecordThatKafkaTookHasASpanWhereItsTraceIsKept(t *testing.T) {
	c := collect(t)
	s := open(t, io.Discard)
	kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "kept", "not-kept", "of-no-trace", "failed"))
	if err != nil {
		t.Fatal(err)
	}
	defer kafka.Close()
	client, err := kgo.NewClient(append(s.Producer(), kgo.SeedBrokers(kafka.ListenAddrs()...))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	parent := func(sampled string) []kgo.RecordHeader {
		return []kgo.RecordHeader{{Key: "ce_id", Value: []byte("u1:1:1")}, {Key: schemas.HeaderTraceParent, Value: []byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-" + sampled)}}
	}
	at := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	if err := client.ProduceSync(t.Context(),
		&kgo.Record{Topic: "kept", Key: []byte("u1@example.com"), Timestamp: at, Headers: parent("01")},
		&kgo.Record{Topic: "not-kept", Headers: parent("00")},
		&kgo.Record{Topic: "of-no-trace"},
	).FirstErr(); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if client.ProduceSync(gone, &kgo.Record{Topic: "failed", Headers: parent("01")}).FirstErr() == nil {
		t.Fatal("produced")
	}
	s.Close()
	if len(c.spans) != 1 {
		t.Fatalf("%v", c.spans)
	}
	got := c.spans[0]
	if got.Name != "send kept" || fmt.Sprintf("%x", got.TraceId) != "4bf92f3577b34da6a3ce929d0e0e4736" || fmt.Sprintf("%x", got.ParentSpanId) != "00f067aa0ba902b7" ||
		int64(got.StartTimeUnixNano) != at.UnixNano() || got.Kind != spanpb.Span_SPAN_KIND_PRODUCER || strings.Contains(got.String(), "u1") {
		t.Errorf("%v", got)
	}
}

// locked is a log that is read while it is written.
type locked struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
