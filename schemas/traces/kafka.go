package traces

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"cartstream/schemas"
)

// Producer returns the options by which a Kafka client makes a span of each record that Kafka acknowledged and whose
// traceparent says that its trace is kept: a child of the span that the record carries, from when the client took it. The
// record itself stays as it is.
func (t *Traces) Producer() []kgo.Opt {
	if t == nil {
		return nil
	}
	return []kgo.Opt{kgo.WithHooks(sent{t.Tracer()})}
}

type sent struct{ tracer trace.Tracer }

// OnProduceRecordUnbuffered implements kgo.HookProduceRecordUnbuffered.
func (s sent) OnProduceRecordUnbuffered(r *kgo.Record, err error) {
	if err != nil { // it comes again
		return
	}
	ctx := carried(r)
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return
	}
	_, span := s.tracer.Start(ctx, "send "+r.Topic, trace.WithSpanKind(trace.SpanKindProducer), trace.WithTimestamp(r.Timestamp),
		trace.WithAttributes(
			attribute.String("messaging.system", "kafka"),
			attribute.String("messaging.operation.name", "send"),
			attribute.String("messaging.operation.type", "send"),
			attribute.String("messaging.destination.name", r.Topic),
			attribute.Int("messaging.destination.partition.id", int(r.Partition)),
			attribute.Int64("messaging.kafka.offset", r.Offset),
		))
	span.End(trace.WithTimestamp(time.Now()))
}

// carried returns a context with the span that the record carries, if any.
func carried(r *kgo.Record) context.Context {
	for i := range r.Headers {
		if h := &r.Headers[i]; h.Key == schemas.HeaderTraceParent {
			return propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{h.Key: string(h.Value)})
		}
	}
	return context.Background()
}
