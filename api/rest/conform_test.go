package rest_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"cartstream/schemas"
)

// document is the published OpenAPI document, tightened: an answer has no other members than those it names.
var document = sync.OnceValue(func() *openapi3.T {
	var tree map[string]any
	if err := json.Unmarshal(schemas.OpenAPI, &tree); err != nil {
		panic(err)
	}
	for _, schema := range tree["components"].(map[string]any)["schemas"].(map[string]any) {
		schema.(map[string]any)["additionalProperties"] = false
	}
	tight, err := json.Marshal(tree)
	if err != nil {
		panic(err)
	}
	doc, err := openapi3.NewLoader().LoadFromData(tight)
	if err != nil {
		panic(err)
	}
	return doc
})

// conform holds an answer against the document: its status, headers and body. What the document has no operation for
// must be a problem.
func conform(t *testing.T, r *http.Request, a answer) {
	t.Helper()
	doc := document()
	if r.Method == http.MethodOptions && a.status == http.StatusNoContent {
		return // a preflight is no operation
	}
	route := find(doc, r)
	if route == nil {
		var value any
		if err := json.Unmarshal(a.body, &value); err != nil && r.Method != http.MethodHead {
			t.Fatalf("%s %s: %d %q is no JSON", r.Method, r.URL.Path, a.status, a.body)
		}
		if r.Method != http.MethodHead {
			problems := doc.Components.Schemas["Problem"].Value
			if err := problems.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
				t.Errorf("%s %s: %d %s\n%v", r.Method, r.URL.Path, a.status, a.body, err)
			}
		}
		return
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, Route: route},
		Status:                 a.status,
		Header:                 a.header,
		Options:                &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true},
	}
	input.SetBodyBytes(a.body)
	if err := openapi3filter.ValidateResponse(t.Context(), input); err != nil {
		t.Errorf("%s %s is not as the OpenAPI document says: %d %s\n%v", r.Method, r.URL.Path, a.status, a.body, err)
	}
}

var parameter = regexp.MustCompile(`\{[^}]+\}`)

// find returns the operation that the request is of, nil for none. Where one path fits as it is, it wins.
func find(doc *openapi3.T, r *http.Request) *routers.Route {
	method := r.Method
	for _, path := range doc.Paths.InMatchingOrder() {
		pattern := "^" + parameter.ReplaceAllString(path, "[^/]+") + "$"
		item := doc.Paths.Value(path)
		if regexp.MustCompile(pattern).MatchString(r.URL.EscapedPath()) && item.GetOperation(method) != nil {
			return &routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: item.GetOperation(method)}
		}
	}
	return nil
}
