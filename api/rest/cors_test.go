package rest_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"cartstream/api/rest"
	"cartstream/schemas/env"
)

func TestAPageMayReadAnswersWhereItsOriginIsAllowed(t *testing.T) {
	t.Parallel()
	a := setup(t, func(c *rest.Config) {
		c.AllowedOrigins = rest.Origins{"https://shop.example", "https://Other.example:8443"}
	})
	same := strings.TrimPrefix(a.url, "http://")
	for claim, tc := range map[string]struct {
		origin  string
		allowed bool
	}{
		"one that is named":            {"https://shop.example", true},
		"another one, in lower case":   {"https://other.example:8443", true},
		"one in capitals":              {"HTTPS://SHOP.EXAMPLE", true},
		"its own":                      {"http://" + same, true},
		"its own, behind TLS":          {"https://" + same, true},
		"one that begins like its own": {"http://" + same + "0", false},
		"another scheme":               {"http://shop.example", false},
		"another port":                 {"https://shop.example:444", false},
		"a subdomain":                  {"https://a.shop.example", false},
		"one that begins alike":        {"https://shop.example.evil.example", false},
		"none in particular":           {"null", false},
		"only a host":                  {same, false},
		"empty":                        {"", false},
	} {
		t.Run(claim, func(t *testing.T) {
			for _, c := range []call{
				{method: "GET", path: "/v1/cart"}, add, {method: "GET", path: "/v1/nothing"}, {method: "GET", path: "/v1/books", header: http.Header{"Authorization": nil}},
				{method: "GET", path: "/v1/cart", header: http.Header{"Authorization": {"Bearer x"}}},
			} {
				header := http.Header{"Origin": {tc.origin}}
				for name, values := range c.header {
					header[name] = values
				}
				c.header = header
				got := a.do(t, c)
				if !slices.Contains(got.header.Values("Vary"), "Origin") {
					t.Errorf("%s %s: Vary %q, a cache could serve it to others", c.method, c.path, got.header.Values("Vary"))
				}
				allow, expose := got.header.Get("Access-Control-Allow-Origin"), got.header.Get("Access-Control-Expose-Headers")
				if !tc.allowed {
					if allow != "" || expose != "" {
						t.Errorf("%s %s: allows %q", c.method, c.path, allow)
					}
					continue
				}
				if allow != tc.origin || expose != "ETag, Location, Idempotent-Replayed, Retry-After" {
					t.Errorf("%s %s: allows %q, exposes %q", c.method, c.path, allow, expose)
				}
			}
			preflight := a.do(t, call{method: "OPTIONS", path: "/v1/cart/items/b1", header: http.Header{
				"Origin": {tc.origin}, "Access-Control-Request-Method": {"PUT"}, "Access-Control-Request-Headers": {"authorization,content-type"}, "Authorization": nil,
			}})
			if tc.origin == "" {
				return // no browser asks
			}
			methods, headers := preflight.header.Get("Access-Control-Allow-Methods"), preflight.header.Get("Access-Control-Allow-Headers")
			if preflight.status != 204 || len(preflight.body) > 0 || (preflight.header.Get("Access-Control-Allow-Origin") == tc.origin) != tc.allowed {
				t.Errorf("preflight: %d %v", preflight.status, preflight.header)
			}
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
				if strings.Contains(methods, method) != tc.allowed {
					t.Errorf("preflight allows the methods %q", methods)
				}
			}
			for _, header := range []string{"Authorization", "Content-Type", "If-Match", "If-None-Match", "Idempotency-Key", "traceparent"} {
				if strings.Contains(headers, header) != tc.allowed {
					t.Errorf("preflight allows the headers %q", headers)
				}
			}
		})
	}
	a.carts.mu.Lock()
	defer a.carts.mu.Unlock()
	for _, asked := range a.carts.asked {
		if asked.what == "set" {
			t.Error("a preflight reached the store")
		}
	}
}

func TestSettingsAreReadFromTheEnvironment(t *testing.T) {
	for claim, tc := range map[string]struct{ name, value, fault string }{
		"origins":                    {"ALLOWED_ORIGINS", "https://shop.example, http://localhost:5173/,", ""},
		"an origin without a scheme": {"ALLOWED_ORIGINS", "https://a.example,shop.example", "shop.example"},
		"an origin with a path":      {"ALLOWED_ORIGINS", "https://shop.example/path", "https://shop.example/path"},
		"an origin without a host":   {"ALLOWED_ORIGINS", "https://", "ALLOWED_ORIGINS"},
		"any origin":                 {"ALLOWED_ORIGINS", "*", "ALLOWED_ORIGINS"},
		"an origin with a user":      {"ALLOWED_ORIGINS", "https://user@shop.example", "ALLOWED_ORIGINS"},
		"an origin with a query":     {"ALLOWED_ORIGINS", "https://shop.example?x", "ALLOWED_ORIGINS"},
		"no limit":                   {"RATE_LIMIT", "0", ""},
		"a negative limit":           {"RATE_LIMIT", "-1", "RATE_LIMIT"},
		"a limit that is no number":  {"RATE_LIMIT", "many", "RATE_LIMIT"},
		"bodies of no size":          {"BODY_LIMIT", "0", "BODY_LIMIT"},
		"proxies":                    {"TRUSTED_PROXIES", "10.0.0.0/8,127.0.0.1,::1", ""},
		"a proxy that is no address": {"TRUSTED_PROXIES", "proxy.example", "TRUSTED_PROXIES"},
	} {
		t.Run(claim, func(t *testing.T) {
			t.Setenv(tc.name, tc.value)
			var got rest.Settings
			err := errors.Join(env.Parse(&got), got.Check())
			if tc.fault == "" && err != nil || tc.fault != "" && (err == nil || !strings.Contains(err.Error(), tc.fault)) {
				t.Errorf("got %v, want a fault about %q", err, tc.fault)
			}
			if claim == "origins" && !slices.Equal(got.AllowedOrigins, rest.Origins{"https://shop.example", "http://localhost:5173"}) {
				t.Errorf("origins %q", got.AllowedOrigins)
			}
		})
	}
}
