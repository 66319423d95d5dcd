package runner_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"cartstream/consumers/runner"
)

// traced writes a record of its own trace.
func (k *kafka) traced(t *testing.T, traceID byte, sampled, key, value string) {
	t.Helper()
	id := strings.Repeat("0", 31) + string(traceID)
	k.put(t, &kgo.Record{Topic: in, Key: []byte(key), Value: []byte(value), Headers: []kgo.RecordHeader{
		{Key: "ce_id", Value: []byte(key)}, {Key: "traceparent", Value: []byte("00-" + id + "-00f067aa0ba902b7-" + sampled)},
	}})
}

func TestARecordOfAKeptTraceHasASpanInIt(t *testing.T) {
	t.Parallel()
	for claim, c := range map[string]func(*seen) runner.Runnable{
		"of a consumer":                func(s *seen) runner.Runnable { return consumer(s, nil) },
		"of one that writes in one go": func(*seen) runner.Runnable { return copier(nil) },
	} {
		t.Run(claim, func(t *testing.T) {
			t.Parallel()
			k := newKafka(t, 1)
			k.traced(t, '1', "01", "u1@example.com", "a")
			k.traced(t, '2', "00", "u2", "b")
			k.traced(t, '3', "01", "u3", "poison")
			k.traced(t, '4', "01", "u4", "garbled")
			k.write(t, 0, "u5", "of no trace")
			spans := tracetest.NewSpanRecorder()
			provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(spans))
			r := runWith(t, runner.Config{Kafka: []kgo.Opt{kgo.SeedBrokers(k.brokers...)}, Tracer: provider.Tracer("test")}, c(&seen{}))
			until(t, "all is done", func() bool { return k.committed("g", 0) >= 5 })
			r.stop()
			found := map[string]sdk.ReadOnlySpan{}
			for _, s := range spans.Ended() {
				found[s.SpanContext().TraceID().String()[31:]] = s
				if s.Name() != "g process "+in || s.SpanKind() != trace.SpanKindConsumer || s.Parent().SpanID().String() != "00f067aa0ba902b7" {
					t.Errorf("%s, a child of %v", s.Name(), s.Parent())
				}
				for _, a := range s.Attributes() {
					if v := a.Value.String(); strings.Contains(v, "u1") {
						t.Errorf("%s tells too much: %s", a.Key, v)
					}
				}
			}
			if len(found) != 3 || found["1"] == nil || found["1"].Status().Code == codes.Error {
				t.Fatalf("spans of the traces %v", found)
			}
			for trace, class := range map[string]string{"3": runner.ClassRejected, "4": runner.ClassUndecodable} {
				if s := found[trace]; s == nil || s.Status().Code != codes.Error || !strings.Contains(attributes(s), "error.type="+class) {
					t.Errorf("trace %s: %v", trace, s)
				}
			}
		})
	}
}

func TestARecordThatIsTriedAgainHasOneSpan(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 1)
	k.traced(t, '1', "01", "u1", "a")
	spans := tracetest.NewSpanRecorder()
	tries := 0
	r := runWith(t, runner.Config{Kafka: []kgo.Opt{kgo.SeedBrokers(k.brokers...)}, Tracer: sdk.NewTracerProvider(sdk.WithSpanProcessor(spans)).Tracer("test")},
		consumer(&seen{}, func(context.Context, []runner.Record[string]) error {
			if tries++; tries < 4 {
				return errors.New("away")
			}
			return nil
		}))
	until(t, "it is done", func() bool { return k.committed("g", 0) == 1 })
	r.stop()
	if got := spans.Ended(); len(got) != 1 || got[0].Status().Code == codes.Error {
		t.Errorf("%v", got)
	}
}

func TestASpanOfWhatComesAgainSaysSo(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 1)
	k.traced(t, '1', "01", "u1", "a")
	spans := tracetest.NewSpanRecorder()
	tried := make(chan struct{}, 1000)
	r := runWith(t, runner.Config{Kafka: []kgo.Opt{kgo.SeedBrokers(k.brokers...)}, Tracer: sdk.NewTracerProvider(sdk.WithSpanProcessor(spans)).Tracer("test")},
		consumer(&seen{}, func(context.Context, []runner.Record[string]) error {
			tried <- struct{}{}
			return errors.New("secret-host is away")
		}))
	<-tried
	r.stop()
	got := spans.Ended()
	if len(got) != 1 || got[0].Status().Code != codes.Error || !strings.Contains(attributes(got[0]), "error.type=not_done") ||
		strings.Contains(attributes(got[0])+got[0].Status().Description, "secret") {
		t.Errorf("%v", got)
	}
}

func attributes(s sdk.ReadOnlySpan) string {
	var all strings.Builder
	for _, a := range s.Attributes() {
		all.WriteString(string(a.Key) + "=" + a.Value.String() + "\n")
	}
	return all.String()
}
