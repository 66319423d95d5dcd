package traces

import (
	"context"
	"log/slog"
	"sync"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// complainEvery is how often, at most, it is told that the collector takes nothing.
const complainEvery = time.Minute

// collector is the exporter, and tells in one line that the collector takes no spans, and in one that it takes them again.
type collector struct {
	sdk.SpanExporter
	log *slog.Logger

	mu   sync.Mutex
	told bool      // that it is away
	last time.Time // when that was
}

// ExportSpans sends the spans, or drops them. It returns no error: that was told.
func (c *collector) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := c.SpanExporter.ExportSpans(ctx, spans)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil && c.told:
		c.told = false
		c.log.Info("the collector takes spans again")
	case err != nil && !c.told && (c.last.IsZero() || time.Since(c.last) >= complainEvery):
		c.told, c.last = true, time.Now()
		c.log.Warn("the collector takes no spans: they are dropped until it does", "error", err)
	}
	return nil
}
