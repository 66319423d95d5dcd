package rest

import (
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// begin begins the span of a call, as a child of the one that its traceparent names. From here on the call's traceparent
// is that of the span, so that the events that it causes carry that one. Sockets, which last for hours, and what is no
// call of the API have none: the span is nil.
func (s *server) begin(c *gin.Context) trace.Span {
	route := c.FullPath()
	if !strings.HasPrefix(route, "/v1/") || route == livePath {
		return nil
	}
	method, h := c.Request.Method, c.Request.Header
	route = strings.Replace(route, ":bookId", "{bookId}", 1)
	ctx := trace.ContextWithRemoteSpanContext(c.Request.Context(), remote(traceParent(h)))
	ctx, span := s.Tracer.Start(ctx, method+" "+route, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", method),
		attribute.String("http.route", route),
	))
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	h["Traceparent"] = []string{carrier["traceparent"]}
	return span
}

// end ends it. Of a failure it tells the status alone.
func end(c *gin.Context, span trace.Span) {
	if span == nil {
		return
	}
	status := c.Writer.Status()
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= 500 {
		span.SetAttributes(attribute.String("error.type", strconv.Itoa(status)))
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// remote is the span that a checked traceparent names, none for "". Flags that aren't known are dropped.
func remote(traceParent string) trace.SpanContext {
	if traceParent == "" {
		return trace.SpanContext{}
	}
	// It was checked: the errors are nil.
	traceID, _ := trace.TraceIDFromHex(traceParent[3:35])
	spanID, _ := trace.SpanIDFromHex(traceParent[36:52])
	flags, _ := strconv.ParseUint(traceParent[53:], 16, 8)
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: traceID, SpanID: spanID, TraceFlags: trace.TraceFlags(flags) & (trace.FlagsSampled | trace.FlagsRandom), Remote: true,
	})
}
