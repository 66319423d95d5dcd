package blackbox

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/schemas"
)

// The ops API, each call with an answer and its refusals, held against its document: statuses, bodies, and that nothing else is
// in them.
func TestTheOpsAPIIsAsItsDocumentSays(t *testing.T) {
	s := start(t, options{apis: 1, consumers: 1})
	o := &opsDocument{t: t, addr: s.consumers[0].addr, doc: tightened(t), seen: map[string]bool{}}
	createBooks(t, s, func(int) string { return "Emma" }, 1)
	_, err := send(t.Context(), s.apis[0].addr, token("u1", "customer"), addItem("book-000", 2))
	if err != nil {
		t.Fatal(err)
	}
	poison(t, s, 3)
	var ids []string
	eventually(t, "the letters are indexed", func() error {
		ids = letterIDs(o.call(200, "GET /admin/dead-letters", "/admin/dead-letters?limit=100", ""))
		if len(ids) < 3 {
			return fmt.Errorf("%d letters", len(ids))
		}
		return nil
	})
	eventually(t, "the cart is in sync", func() error {
		if body := o.call(200, "GET /admin/carts/{userId}", "/admin/carts/u1", ""); !strings.Contains(string(body), `"inSync":true`) {
			return fmt.Errorf("%s", body)
		}
		return nil
	})
	one := "/admin/dead-letters/" + ids[0]
	for _, c := range []struct {
		status                int
		operation, path, body string
	}{
		{200, "GET /admin/carts/{userId}", "/admin/carts/nobody", ""},
		{400, "GET /admin/carts/{userId}", "/admin/carts/a%20b", ""},
		{202, "POST /admin/carts/{userId}/sync", "/admin/carts/u1/sync", ""},
		{400, "POST /admin/carts/{userId}/sync", "/admin/carts/a%20b/sync", ""},
		{200, "GET /admin/outbox", "/admin/outbox", ""},
		{200, "GET /admin/recovery", "/admin/recovery", ""},
		{200, "POST /admin/consumers/{name}/pause", "/admin/consumers/state/pause", ""},
		{404, "POST /admin/consumers/{name}/pause", "/admin/consumers/nobody/pause", ""},
		{200, "GET /admin/consumers", "/admin/consumers", ""},
		{200, "POST /admin/consumers/{name}/resume", "/admin/consumers/state/resume", ""},
		{404, "POST /admin/consumers/{name}/resume", "/admin/consumers/nobody/resume", ""},
		{202, "POST /admin/reconcile", "/admin/reconcile", `{"scope":"all"}`},
		{400, "POST /admin/reconcile", "/admin/reconcile", `{"scope":"some"}`},
		{200, "GET /admin/reconcile", "/admin/reconcile", ""},
		{400, "GET /admin/dead-letters", "/admin/dead-letters?limit=0", ""},
		{200, "GET /admin/dead-letters", "/admin/dead-letters?limit=1&group=push&class=undecodable&status=parked&userId=u1", ""},
		{200, "GET /admin/dead-letters/{id}", one, ""},
		{404, "GET /admin/dead-letters/{id}", "/admin/dead-letters/none", ""},
		{202, "POST /admin/dead-letters/{id}/replay", one + "/replay", ""},
		{404, "POST /admin/dead-letters/{id}/replay", "/admin/dead-letters/none/replay", ""},
		{200, "POST /admin/dead-letters/replay", "/admin/dead-letters/replay", `{"filter":{"group":"push"},"dryRun":true}`},
		{400, "POST /admin/dead-letters/replay", "/admin/dead-letters/replay", `{"filter":{"grp":"push"}}`},
		{200, "POST /admin/dead-letters/{id}/discard", one + "/discard", `{"reason":"a test's"}`},
		{400, "POST /admin/dead-letters/{id}/discard", one + "/discard", `{"reason":""}`},
		{404, "POST /admin/dead-letters/{id}/discard", "/admin/dead-letters/none/discard", `{"reason":"a test's"}`},
		{200, "GET /admin/dead-letters/{id}/history", one + "/history", ""},
		{404, "GET /admin/dead-letters/{id}/history", "/admin/dead-letters/none/history", ""},
	} {
		o.call(c.status, c.operation, c.path, c.body)
	}
	for path, item := range o.doc.Paths.Map() {
		for method := range item.Operations() {
			if !o.seen[method+" "+path] {
				t.Errorf("the document has %s %s, which nobody called", method, path)
			}
		}
	}
}

func poison(t *testing.T, s *stack, n int) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(s.brokers, ",")...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range n {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: schemas.CartEvents, Key: []byte("u1"), Value: []byte("poison")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// letterIDs are those of the group push.
func letterIDs(page []byte) (ids []string) {
	var list struct{ Items []struct{ ID, Group string } }
	_ = json.Unmarshal(page, &list) // the document says what it is
	for _, l := range list.Items {
		if l.Group == "push" {
			ids = append(ids, l.ID)
		}
	}
	return ids
}

// opsDocument is the document of the ops API, and a process that should be as it says.
type opsDocument struct {
	t    *testing.T
	addr string
	doc  *openapi3.T
	seen map[string]bool // operations that were answered
}

// tightened is the document with objects that have no other members than those they name.
func tightened(t *testing.T) *openapi3.T {
	t.Helper()
	var tree map[string]any
	if err := json.Unmarshal(schemas.OpsOpenAPI, &tree); err != nil {
		t.Fatal(err)
	}
	for _, schema := range tree["components"].(map[string]any)["schemas"].(map[string]any) {
		schema.(map[string]any)["additionalProperties"] = false
	}
	tight, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(tight)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

var parameters = regexp.MustCompile(`\{[^}]+\}`)

// call makes a call as an admin, and holds what comes back against the document.
func (o *opsDocument) call(status int, operation, path, body string) []byte {
	o.t.Helper()
	method, pattern, _ := strings.Cut(operation, " ")
	bare, _, _ := strings.Cut(path, "?")
	item := o.doc.Paths.Value(pattern)
	if item == nil || item.GetOperation(method) == nil || !regexp.MustCompile("^"+parameters.ReplaceAllString(pattern, "[^/]+")+"$").MatchString(bare) {
		o.t.Fatalf("the document has no %s for %s", operation, path)
	}
	o.seen[operation] = true
	a, err := send(o.t.Context(), o.addr, token("boss", "admin"), call{method: method, path: path, body: body})
	if err != nil {
		o.t.Fatal(err)
	}
	if a.status != status {
		o.t.Errorf("%s %s: %d %s, want %d", method, path, a.status, a.body, status)
	}
	media := "application/json"
	if a.status >= 400 {
		media = "application/problem+json"
	}
	request, err := http.NewRequestWithContext(context.Background(), method, "http://"+o.addr+path, nil)
	if err != nil {
		o.t.Fatal(err)
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: request, Route: &routers.Route{
			Spec: o.doc, Path: pattern, PathItem: item, Method: method, Operation: item.GetOperation(method),
		}},
		Status: a.status, Header: http.Header{"Content-Type": {media}},
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	input.SetBodyBytes(a.body)
	if err := openapi3filter.ValidateResponse(o.t.Context(), input); err != nil {
		o.t.Errorf("%s %s is not as the document says: %d %s\n%v", method, path, a.status, a.body, err)
	}
	return a.body
}

// Both documents have these objects, and generators of clients must find the same.
func TestTheOpsDocumentsCartsAreTheAPIs(t *testing.T) {
	var ops, api struct {
		Components struct{ Schemas map[string]json.RawMessage }
	}
	for _, err := range []error{json.Unmarshal(schemas.OpsOpenAPI, &ops), json.Unmarshal(schemas.OpenAPI, &api)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"Cart", "Line", "Fault", "Problem"} {
		var one, other any
		if json.Unmarshal(ops.Components.Schemas[name], &one) != nil || json.Unmarshal(api.Components.Schemas[name], &other) != nil {
			t.Fatalf("%s is missing", name)
		}
		if a, b := fmt.Sprint(one), fmt.Sprint(other); a != b {
			t.Errorf("%s: %s\nbut %s", name, a, b)
		}
	}
}
