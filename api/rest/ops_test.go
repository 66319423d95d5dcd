package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"cartstream/api/rest"
	"cartstream/schemas"
)

func TestReadinessSaysWhatCanBeServed(t *testing.T) {
	t.Parallel()
	var (
		up     = func(context.Context) (string, error) { return "", nil }
		loud   = func(context.Context) (string, error) { return "appendonly is off", nil }
		away   = func(context.Context) (string, error) { return "", errors.New("dial tcp 10.0.0.7: secret cause") }
		asleep = func(ctx context.Context) (string, error) { <-make(chan struct{}); return "", ctx.Err() }
	)
	for claim, tc := range map[string]struct {
		redis, kafka, mongodb rest.Probe
		ready, recovering     int
		status                int
		body                  string
	}{
		"ready": {up, up, up, 128, 0, 200,
			`{"status":"ready","engines":{"kafka":{"state":"up"},"mongodb":{"state":"up"},"redis":{"state":"up"}},"shards":{"ready":128,"recovering":0}}`},
		"ready, with something to say": {loud, up, up, 128, 0, 200,
			`{"status":"ready","engines":{"kafka":{"state":"up"},"mongodb":{"state":"up"},"redis":{"state":"up","detail":"appendonly is off"}},"shards":{"ready":128,"recovering":0}}`},
		"degraded without Kafka": {up, away, up, 128, 0, 200,
			`{"status":"degraded","engines":{"kafka":{"state":"down","detail":"does not answer"},"mongodb":{"state":"up"},"redis":{"state":"up"}},"shards":{"ready":128,"recovering":0}}`},
		"degraded without MongoDB, which hangs": {up, up, asleep, 128, 0, 200,
			`{"status":"degraded","engines":{"kafka":{"state":"up"},"mongodb":{"state":"down","detail":"does not answer"},"redis":{"state":"up"}},"shards":{"ready":128,"recovering":0}}`},
		"degraded while some shards recover": {up, up, up, 100, 28, 200,
			`{"status":"degraded","engines":{"kafka":{"state":"up"},"mongodb":{"state":"up"},"redis":{"state":"up"}},"shards":{"ready":100,"recovering":28}}`},
		"unavailable while all do": {up, up, up, 0, 128, 503,
			`{"status":"unavailable","engines":{"kafka":{"state":"up"},"mongodb":{"state":"up"},"redis":{"state":"up"}},"shards":{"ready":0,"recovering":128}}`},
		"unavailable without Redis": {away, up, up, 128, 0, 503,
			`{"status":"unavailable","engines":{"kafka":{"state":"up"},"mongodb":{"state":"up"},"redis":{"state":"down","detail":"does not answer"}},"shards":{"ready":0,"recovering":0}}`},
	} {
		t.Run(claim, func(t *testing.T) {
			t.Parallel()
			a := setup(t, func(c *rest.Config) {
				c.Readiness = rest.Readiness{Redis: tc.redis, Kafka: tc.kafka, MongoDB: tc.mongodb, Shards: func() (int, int) { return tc.ready, tc.recovering }}
			})
			if got := a.do(t, call{method: "GET", path: "/readyz"}); got.status != tc.status || string(got.body) != tc.body {
				t.Errorf("got %d %s\nwant %d %s", got.status, got.body, tc.status, tc.body)
			}
			if got := a.do(t, call{method: "GET", path: "/healthz"}); got.status != 200 {
				t.Errorf("alive: %d", got.status)
			}
		})
	}
}

func TestReadinessDoesNotKeepTheEnginesBusy(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	a := setup(t, func(c *rest.Config) {
		c.Readiness.Redis = func(context.Context) (string, error) { asked.Add(1); return "", nil }
	})
	for range 20 {
		a.do(t, call{method: "GET", path: "/readyz"})
	}
	if n := asked.Load(); n > 10 {
		t.Errorf("20 calls asked Redis %d times", n)
	}
}

func TestMetricsCountCallsByRoute(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for i := range 3 {
		a.do(t, call{method: "PUT", path: fmt.Sprintf("/v1/cart/items/b%d", i), body: `{"quantity":1}`})
		a.do(t, call{method: "GET", path: fmt.Sprintf("/nothing/%d", i)})
		a.do(t, call{method: fmt.Sprintf("M%d", i), path: "/v1/cart"})
	}
	a.do(t, call{method: "PUT", path: "/v1/cart/items/b1", body: "x"})
	got := string(a.do(t, call{method: "GET", path: "/metrics"}).body)
	for _, line := range []string{
		`cartstream_http_requests_total{method="PUT",route="/v1/cart/items/:bookId",status="200"} 3`,
		`cartstream_http_requests_total{method="PUT",route="/v1/cart/items/:bookId",status="400"} 1`,
		`cartstream_http_requests_total{method="any",route="none",status="404"} 3`,
		`cartstream_http_requests_total{method="any",route="none",status="405"} 3`,
		`cartstream_http_request_seconds_count{method="PUT",route="/v1/cart/items/:bookId"} 4`,
	} {
		if !strings.Contains(got, line+"\n") {
			t.Errorf("no line %s in\n%s", line, got)
		}
	}
}

func TestThePublishedDocumentIsServed(t *testing.T) {
	t.Parallel()
	a := setup(t)
	got := a.do(t, call{method: "GET", path: "/v1/openapi.json"})
	if got.status != 200 || !bytes.Equal(got.body, schemas.OpenAPI) {
		t.Errorf("got %d and %d bytes, want the %d bytes of schemas/openapi.json", got.status, len(got.body), len(schemas.OpenAPI))
	}
	var doc struct{ OpenAPI string }
	if err := json.Unmarshal(got.body, &doc); err != nil || !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		t.Errorf("it is of version %q, %v", doc.OpenAPI, err)
	}
}

func TestTheDocumentIsAValidOne(t *testing.T) {
	t.Parallel()
	if err := document().Validate(t.Context()); err != nil {
		t.Error(err)
	}
}
