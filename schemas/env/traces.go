package env

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Traces says where spans go. Names and meanings are OpenTelemetry's own, and its other names for the same (those
// beginning with OTEL_EXPORTER_OTLP_, OTEL_BSP_ and OTEL_SPAN_) hold too: its SDK reads them.
type Traces struct {
	Endpoint       string `env:"OTEL_EXPORTER_OTLP_ENDPOINT" help:"http(s)://host:port of what takes traces by OTLP over HTTP, often on port 4318; no traces, where unset"`
	TracesEndpoint string `env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" help:"the whole URL, in place of the endpoint above and /v1/traces"`
	Protocol       string `env:"OTEL_EXPORTER_OTLP_PROTOCOL" envDefault:"http/protobuf" help:"http/protobuf or http/json; grpc is not spoken"`
	TracesProtocol string `env:"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL" help:"in place of the protocol above"`
	Headers        Secret `env:"OTEL_EXPORTER_OTLP_HEADERS" help:"name=value,…, sent along, as a password is; percent-encoded"`
	TracesHeaders  Secret `env:"OTEL_EXPORTER_OTLP_TRACES_HEADERS" help:"in place of the headers above"`
	Service        string `env:"OTEL_SERVICE_NAME" help:"what the process is called in traces; cartstream-api or cartstream-consumers, where unset"`
	Resource       string `env:"OTEL_RESOURCE_ATTRIBUTES" help:"name=value,…, told of the process with all of its spans; percent-encoded"`
	Sampler        string `env:"OTEL_TRACES_SAMPLER" envDefault:"parentbased_always_on" help:"which traces are kept, where the caller doesn't say: always_on, always_off, traceidratio; whatever the caller says, without parentbased_"`
	SamplerArg     string `env:"OTEL_TRACES_SAMPLER_ARG" help:"the share that traceidratio keeps, 0 to 1; all, where unset"`
	Exporter       string `env:"OTEL_TRACES_EXPORTER" envDefault:"otlp" help:"otlp, or none: no traces"`
	Disabled       bool   `env:"OTEL_SDK_DISABLED" envDefault:"false" help:"true: no traces"`
}

// Wanted reports whether there are to be traces.
func (t Traces) Wanted() bool {
	return !t.Disabled && t.Exporter != "none" && (t.Endpoint != "" || t.TracesEndpoint != "")
}

// check finds no fault where there are no traces: the same names may be there for others.
func (t *Traces) check() []error {
	if !t.Wanted() {
		return nil
	}
	faults := []error{
		checkCollector("OTEL_EXPORTER_OTLP_ENDPOINT", t.Endpoint),
		checkCollector("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", t.TracesEndpoint),
		checkProtocol("OTEL_EXPORTER_OTLP_PROTOCOL", t.Protocol),
		checkProtocol("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", t.TracesProtocol),
		checkPairs("OTEL_EXPORTER_OTLP_HEADERS", string(t.Headers)),
		checkPairs("OTEL_EXPORTER_OTLP_TRACES_HEADERS", string(t.TracesHeaders)),
		checkPairs("OTEL_RESOURCE_ATTRIBUTES", t.Resource),
		t.checkSampler(),
	}
	if t.Exporter != "otlp" {
		faults = append(faults, fmt.Errorf("OTEL_TRACES_EXPORTER is %q: otlp or none", t.Exporter))
	}
	return slices.DeleteFunc(faults, func(fault error) bool { return fault == nil })
}

func (t *Traces) checkSampler() error {
	kind, _ := strings.CutPrefix(strings.ToLower(strings.TrimSpace(t.Sampler)), "parentbased_")
	switch kind {
	case "always_on", "always_off":
		return nil
	case "traceidratio":
		share, err := strconv.ParseFloat(strings.TrimSpace(t.SamplerArg), 64)
		if t.SamplerArg != "" && (err != nil || !(share >= 0 && share <= 1)) {
			return fmt.Errorf("OTEL_TRACES_SAMPLER_ARG is %q: a share, 0 to 1", t.SamplerArg)
		}
		return nil
	}
	return fmt.Errorf("OTEL_TRACES_SAMPLER is %q: always_on, always_off or traceidratio, or one of them after parentbased_", t.Sampler)
}

func checkCollector(name, value string) error {
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return errors.New(name + " can't be sent to: http(s)://host:port[/path]") // it may show a password
	case u.User != nil:
		return errors.New(name + " names a user: that goes into OTEL_EXPORTER_OTLP_HEADERS, as authorization=Basic%20…")
	}
	return nil
}

func checkProtocol(name, value string) error {
	switch value {
	case "", "http/protobuf", "http/json":
		return nil
	}
	return fmt.Errorf("%s is %q: http/protobuf or http/json, which collectors take on port 4318", name, value)
}

// checkPairs returns a fault where value is not name=value,… as OpenTelemetry has it. What is in it isn't shown.
func checkPairs(name, value string) error {
	for pair := range strings.SplitSeq(value, ",") {
		key, text, ok := strings.Cut(strings.TrimSpace(pair), "=")
		_, err := url.PathUnescape(text)
		if pair = strings.TrimSpace(pair); pair != "" && (!ok || strings.TrimSpace(key) == "" || err != nil) {
			return errors.New(name + " can't be read: name=value,…, percent-encoded")
		}
	}
	return nil
}
