package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"cartstream/deploy/enginetest"
)

// ops makes a call of the ops API.
func (p *process) ops(method, path, role string) (int, string) {
	raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "boss", "role": role, "exp": time.Now().Add(time.Hour).Unix()}).
		SignedString([]byte("of-the-tests"))
	must(p.t, err)
	request, err := http.NewRequestWithContext(p.t.Context(), method, "http://"+p.addr+path, nil)
	must(p.t, err)
	request.Header.Set("Authorization", "Bearer "+raw)
	response, err := http.DefaultClient.Do(request)
	must(p.t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	must(p.t, err)
	return response.StatusCode, string(body)
}

func TestTheOpsServerServesAdminsAlone(t *testing.T) {
	p := start(t, nil)
	for _, path := range []string{"/admin", "/admin/", "/admin/outbox", "/admin/nothing", "/admin/carts/..", "/nothing", "/"} {
		if code, body := p.get(path); code != 401 || !strings.Contains(body, "/problems/unauthorized") {
			t.Errorf("%s without a token: %d %s", path, code, body)
		}
		if code, body := p.ops("GET", path, "customer"); code != 403 || !strings.Contains(body, "/problems/forbidden") {
			t.Errorf("%s as a customer: %d %s", path, code, body)
		}
	}
	for path, status := range map[string]int{"/admin/nothing": 404, "/admin/outbox": 503, "/admin/carts/u1": 503, "/admin/recovery": 200,
		"/admin/carts/..": 503, "/nothing": 404, "/healthz": 200, "/healthz/": 404} {
		if code, body := p.ops("GET", path, "admin"); code != status {
			t.Errorf("%s without engines: %d %s, want %d", path, code, body, status)
		}
	}
}

func TestAPausedConsumerRestsUntilSomebodyResumesIt(t *testing.T) {
	at := addresses{redis: enginetest.Redis(t), kafka: enginetest.Kafka(t), mongo: enginetest.Mongo(t)}
	p := start(t, at.env())
	p.await("Kafka takes the change", func() bool { return at.produce(t, event("u1", 1)) == nil })
	p.await("MongoDB has the cart", func() bool { return at.stored(t, "u1").Version == 1 })
	if code, body := p.ops("POST", "/admin/consumers/persist/pause", "admin"); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	if code, body := p.ops("POST", "/admin/consumers/nobody/pause", "admin"); code != 404 {
		t.Errorf("%d %s", code, body)
	}
	p.stop(t)

	p = start(t, at.env())
	p.await("it is paused again", func() bool { return p.logged(`"consumer paused"`) })
	must(t, at.produce(t, event("u1", 2)))
	p.await("the other consumers go on", func() bool {
		_, metrics := p.get("/metrics")
		_, after, ok := strings.Cut(metrics, `cartstream_consumer_records_total{consumer="push"} `)
		return ok && after[0] != '0'
	})
	if v := at.stored(t, "u1").Version; v != 1 {
		t.Errorf("MongoDB has version %d", v)
	}
	code, body := p.ops("GET", "/admin/outbox", "admin")
	var outbox struct{ Shards []any }
	if err := json.Unmarshal([]byte(body), &outbox); err != nil || code != 200 || len(outbox.Shards) != 128 {
		t.Errorf("%d %s", code, body)
	}
	if code, body := p.ops("POST", "/admin/consumers/persist/resume", "admin"); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	p.await("MongoDB has the cart", func() bool { return at.stored(t, "u1").Version == 2 })
}
