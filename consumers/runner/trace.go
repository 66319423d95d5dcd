package runner

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// traceParent is the header that carries the span on.
const traceParent = "traceparent"

// traced makes a span of what next does with each record whose traceparent says that its trace is kept: a child of the
// span that the record carries, which lasts until the record is done or given up. Without a Tracer it is next itself.
func (p parts) traced(next process) process {
	if p.tracer == nil {
		return next
	}
	return func(ctx context.Context, batch []*kgo.Record, wait pacing) (result, error) {
		spans := p.spans(batch)
		res, err := next(ctx, batch, wait)
		end(spans, res, err)
		return res, err
	}
}

// spans begins them.
func (p parts) spans(batch []*kgo.Record) map[*kgo.Record]trace.Span {
	spans := map[*kgo.Record]trace.Span{}
	for _, r := range batch {
		ctx := carried(r)
		if !trace.SpanContextFromContext(ctx).IsSampled() {
			continue
		}
		_, spans[r] = p.tracer.Start(ctx, p.name+" process "+r.Topic, trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
			attribute.String("messaging.system", "kafka"),
			attribute.String("messaging.operation.name", "process"),
			attribute.String("messaging.operation.type", "process"),
			attribute.String("messaging.consumer.group.name", p.name),
			attribute.String("messaging.destination.name", r.Topic),
			attribute.Int("messaging.destination.partition.id", int(r.Partition)),
			attribute.Int64("messaging.kafka.offset", r.Offset),
			attribute.Int("messaging.batch.message_count", len(batch)),
		))
	}
	return spans
}

// end ends them. What failed is told by its class alone: an error's text may hold anything.
func end(spans map[*kgo.Record]trace.Span, res result, err error) {
	failed := func(span trace.Span, class, told string) {
		span.SetAttributes(attribute.String("error.type", class))
		span.SetStatus(codes.Error, told)
	}
	for _, f := range res.dead {
		if span := spans[f.record]; span != nil {
			failed(span, f.class, "becomes a dead letter")
		}
	}
	for _, span := range spans {
		if err != nil {
			failed(span, "not_done", "comes again")
		}
		span.End()
	}
}

// carried returns a context with the span that the record carries, if any.
func carried(r *kgo.Record) context.Context {
	for i := range r.Headers {
		if h := &r.Headers[i]; h.Key == traceParent {
			return propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{h.Key: string(h.Value)})
		}
	}
	return context.Background()
}
