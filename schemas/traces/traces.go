// Package traces sends spans to where the environment says, by OTLP over HTTP. Spans never hold anything up: they wait in a
// bounded queue, and are dropped where it is full or the collector is away.
//
// A span says what was done, where, how long it took and whether it failed: a route's pattern, a topic, a partition, an
// offset. It never says for whom, with what contents, or an error's own words: user ids, tokens, mail addresses and
// addresses of engines don't leave the process with it.
package traces

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"cartstream/schemas/env"
)

// flushFor bounds what Close waits for.
const flushFor = 2 * time.Second

// scope tells our spans from those of libraries.
const scope = "cartstream"

// Traces is where a process's spans go. A nil *Traces is none.
type Traces struct {
	provider *sdk.TracerProvider
	log      *slog.Logger
}

// Open returns nil where the settings ask for no traces. It asks nobody: the collector may be away. service is the
// process's name where OTEL_SERVICE_NAME gives none. The settings were read from the environment, which OpenTelemetry's
// SDK reads again for what they leave to it.
func Open(ctx context.Context, settings env.Traces, service string, log *slog.Logger) (*Traces, error) {
	if !settings.Wanted() {
		return nil, nil
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Debug("traces", "error", err) }))
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", service)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
	}
	return &Traces{
		provider: sdk.NewTracerProvider(sdk.WithResource(about), sdk.WithBatcher(&collector{SpanExporter: exporter, log: log})),
		log:      log,
	}, nil
}

// Tracer begins spans. It is nil where there are no traces.
func (t *Traces) Tracer() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.provider.Tracer(scope)
}

// Close sends the spans that have ended, for two seconds at most, and drops those that nobody took by then.
func (t *Traces) Close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushFor)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		t.log.Info("the last spans are dropped: the collector didn't take them in time")
	}
}
