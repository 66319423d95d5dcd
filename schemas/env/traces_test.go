package env_test

import (
	"fmt"
	"strings"
	"testing"

	"cartstream/schemas/env"
)

func TestTracesGoWhereOpenTelemetrysNamesSay(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	there := func(name, value string) map[string]string {
		return map[string]string{endpoint: "http://127.0.0.1:4318", name: value}
	}
	for claim, c := range map[string]struct {
		environ map[string]string
		wanted  bool
		fault   string
	}{
		"nowhere, where nothing is said":      {},
		"to an endpoint":                      {environ: there(endpoint, "https://collector.example/otlp"), wanted: true},
		"to an endpoint of their own":         {environ: map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, wanted: true},
		"nowhere, where the SDK is disabled":  {environ: there("OTEL_SDK_DISABLED", "true")},
		"nowhere, where there is no exporter": {environ: there("OTEL_TRACES_EXPORTER", "none")},
		"another exporter":                    {environ: there("OTEL_TRACES_EXPORTER", "zipkin"), fault: "OTEL_TRACES_EXPORTER is"},
		"no URL":                              {environ: there(endpoint, "collector:4318"), fault: endpoint},
		"a URL with a password":               {environ: there(endpoint, "http://me:hush@collector:4318"), fault: "OTEL_EXPORTER_OTLP_HEADERS"},
		"a URL that can't be read":            {environ: there(endpoint, "http://me:hush@collector:port"), fault: endpoint},
		"gRPC":                                {environ: there("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), fault: `OTEL_EXPORTER_OTLP_PROTOCOL is "grpc"`},
		"gRPC for traces":                     {environ: there("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"), fault: "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is"},
		"gRPC, where there are no traces":     {environ: map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}},
		"JSON":                                {environ: there("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"), wanted: true},
		"headers":                             {environ: there("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20hush, x-tenant=shop"), wanted: true},
		"headers that are none":               {environ: there("OTEL_EXPORTER_OTLP_HEADERS", "hush"), fault: "OTEL_EXPORTER_OTLP_HEADERS"},
		"headers without a name":              {environ: there("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "=hush"), fault: "OTEL_EXPORTER_OTLP_TRACES_HEADERS"},
		"attributes":                          {environ: there("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=staging,team=a%2Cb"), wanted: true},
		"attributes that aren't encoded":      {environ: there("OTEL_RESOURCE_ATTRIBUTES", "team=%zz"), fault: "OTEL_RESOURCE_ATTRIBUTES"},
		"a tenth of them":                     {environ: map[string]string{endpoint: "http://c:4318", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}, wanted: true},
		"more than all of them":               {environ: map[string]string{endpoint: "http://c:4318", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, fault: "OTEL_TRACES_SAMPLER_ARG is"},
		"a share that is no number":           {environ: map[string]string{endpoint: "http://c:4318", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "NaN"}, fault: "OTEL_TRACES_SAMPLER_ARG is"},
		"by a sampler that isn't there":       {environ: there("OTEL_TRACES_SAMPLER", "jaeger_remote"), fault: "OTEL_TRACES_SAMPLER is"},
	} {
		t.Run(claim, func(t *testing.T) {
			for name, value := range c.environ {
				t.Setenv(name, value)
			}
			var got env.Traces
			err := env.Parse(&got)
			switch {
			case c.fault == "" && (err != nil || got.Wanted() != c.wanted):
				t.Errorf("wanted: %v, %v", got.Wanted(), err)
			case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
				t.Errorf("got %v, want a fault about %s", err, c.fault)
			}
			if shown := fmt.Sprintf("%v %+v", err, got.Headers); strings.Contains(shown, "hush") {
				t.Errorf("a password is shown: %s", shown)
			}
		})
	}
}
