package rest_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"cartstream/api/rest"
)

// ten lets a caller make ten calls a second, and twenty at once.
func ten(c *rest.Config) { c.RateLimit = 10 }

func of(t *testing.T, user string) call {
	return call{method: "GET", path: "/v1/cart", header: http.Header{"Authorization": {"Bearer " + mint(t, jwt.MapClaims{"sub": user})}}}
}

// served makes calls until one is refused and returns how many were not.
func served(t *testing.T, a *api, c call) int {
	t.Helper()
	for n := range 100 {
		if got := a.do(t, c); got.status == 429 {
			return n
		}
	}
	t.Fatal("never refused")
	return 0
}

func TestAUserMayCallSoOften(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := direct(t, ten)
		if n := served(t, a, of(t, "u1")); n != 20 {
			t.Errorf("%d calls at once, want 20", n)
		}
		a.refused(t, of(t, "u1"), 429, "rate-limited")
		if after := a.do(t, of(t, "u1")).header.Get("Retry-After"); after != "1" {
			t.Errorf("Retry-After %q", after)
		}
		again := of(t, "u1")
		again.header["Authorization"] = []string{"Bearer " + mint(t, jwt.MapClaims{"sub": "u1", "role": "admin"})}
		if n := served(t, a, again); n != 0 {
			t.Errorf("%d calls with another token of the same user", n)
		}
		if n := served(t, a, of(t, "u2")); n != 20 {
			t.Errorf("%d calls of another user, want 20", n)
		}
		time.Sleep(time.Second)
		if n := served(t, a, of(t, "u1")); n != 10 {
			t.Errorf("%d calls after a second, want 10", n)
		}
		time.Sleep(time.Hour)
		if n := served(t, a, of(t, "u1")); n != 20 {
			t.Errorf("%d calls after an hour, want 20", n)
		}
	})
}

func TestWhoeverHasNoTokenIsLimitedByAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := direct(t, ten)
		nobody := http.Header{"Authorization": nil}
		if n := served(t, a, call{method: "GET", path: "/v1/books", header: nobody}); n != 20 {
			t.Errorf("%d calls at once, want 20", n)
		}
		for claim, c := range map[string]call{
			"another path":                 {method: "GET", path: "/v1/books/b1", header: nobody},
			"no token where one is needed": {method: "GET", path: "/v1/cart", header: nobody},
			"a bad token":                  {method: "GET", path: "/v1/cart", header: http.Header{"Authorization": {"Bearer x"}}},
			"no such path":                 {method: "GET", path: "/nothing", header: nobody},
			"no such method":               {method: "PUT", path: "/v1/cart", header: nobody},
			"the document":                 {method: "GET", path: "/v1/openapi.json", header: nobody},
			"a WebSocket":                  {method: "GET", path: "/v1/cart/live", header: nobody},
			"a preflight":                  {method: "OPTIONS", path: "/v1/cart", header: http.Header{"Authorization": nil, "Origin": {"https://x.example"}, "Access-Control-Request-Method": {"GET"}}},
			"an address of its own making": {method: "GET", path: "/v1/books", header: http.Header{"Authorization": nil, "X-Forwarded-For": {"192.0.2.1"}}},
		} {
			if got := a.do(t, c); got.status != 429 {
				t.Errorf("%s: %d, want 429", claim, got.status)
			}
		}
		if n := served(t, a, of(t, "u1")); n != 20 {
			t.Errorf("%d calls of the same address with a token, want 20", n)
		}
		if n := served(t, a, call{method: "GET", path: "/v1/cart/live", header: http.Header{
			"Authorization": nil, "Sec-Websocket-Protocol": {"cart.v1, bearer." + mint(t, jwt.MapClaims{"sub": "u2"})},
		}}); n != 20 {
			t.Errorf("%d WebSockets of a browser with a token, want 20", n)
		}
	})
}

func TestWhoIsBehindATrustedProxyHasTheAddressThatItNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := direct(t, ten, func(c *rest.Config) { c.TrustedProxies = []string{"127.0.0.0/8"} })
		for _, tc := range []struct {
			address string
			want    int
		}{
			{"192.0.2.1", 20}, {"192.0.2.1", 0}, {"192.0.2.2", 20}, {"198.51.100.9, 192.0.2.2", 0},
			{"2001:db8:0:1::1", 20}, {"2001:db8:0:1::2", 0}, {"2001:db8:0:2::1", 20},
		} {
			c := call{method: "GET", path: "/v1/books", header: http.Header{"Authorization": nil, "X-Forwarded-For": {tc.address}}}
			if n := served(t, a, c); n != tc.want {
				t.Errorf("%s: %d calls, want %d", tc.address, n, tc.want)
			}
		}
	})
}

func TestWhoWatchesTheServerIsNotLimited(t *testing.T) {
	t.Parallel()
	a := setup(t, func(c *rest.Config) { c.RateLimit = 1 })
	for range 10 {
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			if got := a.do(t, call{method: "GET", path: path, header: http.Header{"Authorization": nil}}); got.status != 200 {
				t.Fatalf("GET %s: %d", path, got.status)
			}
		}
	}
}

func TestALimitOfZeroIsNone(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for range 50 {
		if got := a.do(t, call{method: "GET", path: "/v1/cart/total"}); got.status != 200 {
			t.Fatalf("got %d", got.status)
		}
	}
}
