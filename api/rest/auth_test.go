package rest_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"cartstream/api/rest"
	"cartstream/schemas"
	"cartstream/schemas/token"
)

func TestACartIsOnlyForWhoeverHasAToken(t *testing.T) {
	t.Parallel()
	a := setup(t)
	good := mint(t, jwt.MapClaims{"sub": "u1"})
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"sub": "u1"}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	for claim, tc := range map[string]struct {
		lines     []string
		challenge string
	}{
		"no token":                       {nil, "Bearer"},
		"another scheme":                 {[]string{"Basic dTE6cHc="}, "Bearer"},
		"a token alone":                  {[]string{good}, "Bearer"},
		"two tokens":                     {[]string{"Bearer " + good, "Bearer " + good}, "Bearer"},
		"a token that is none":           {[]string{"Bearer hello"}, `Bearer error="invalid_token"`},
		"a token cut short":              {[]string{"Bearer " + good[:len(good)-4]}, `Bearer error="invalid_token"`},
		"an expired token":               {[]string{"Bearer " + mint(t, jwt.MapClaims{"sub": "u1", "exp": time.Now().Add(-time.Minute).Unix()})}, `Bearer error="invalid_token"`},
		"alg none":                       {[]string{"Bearer " + none}, `Bearer error="invalid_token"`},
		"a subject that is no user":      {[]string{"Bearer " + mint(t, jwt.MapClaims{"sub": "u 1"})}, `Bearer error="invalid_token"`},
		"no subject":                     {[]string{"Bearer " + mint(t, nil)}, `Bearer error="invalid_token"`},
		"a token with another behind it": {[]string{"Bearer " + good + ", Bearer " + good}, `Bearer error="invalid_token"`},
	} {
		t.Run(claim, func(t *testing.T) {
			for _, c := range []call{
				{method: "GET", path: "/v1/cart"}, {method: "GET", path: "/v1/cart/total"}, add, {method: "PUT", path: "/v1/cart/items/b1", body: `{"quantity":1}`},
				{method: "DELETE", path: "/v1/cart/items/b1"}, {method: "DELETE", path: "/v1/cart"}, {method: "POST", path: "/v1/cart/items/b1/acknowledge"},
				create, put, {method: "PATCH", path: "/v1/books/b1", body: "{}"}, {method: "DELETE", path: "/v1/books/b1"},
			} {
				c.header = http.Header{"Authorization": tc.lines}
				a.refused(t, c, 401, "unauthorized")
				if got := a.do(t, c).header.Get("WWW-Authenticate"); got != tc.challenge {
					t.Errorf("%s %s: WWW-Authenticate %q, want %q", c.method, c.path, got, tc.challenge)
				}
			}
		})
	}
	a.carts.none(t)
}

func TestWhoCallsIsTheTokensSubject(t *testing.T) {
	t.Parallel()
	a := setup(t)
	a.do(t, call{method: "GET", path: "/v1/cart", header: http.Header{"Authorization": {"bearer " + mint(t, jwt.MapClaims{"sub": "other@u_2"})}}})
	if got := a.carts.last(t).request.User; got != "other@u_2" {
		t.Errorf("asked for the cart of %q", got)
	}
}

func TestBooksAreWrittenByAdminsAlone(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for _, c := range []call{create, put, {method: "PATCH", path: "/v1/books/b1", body: "{}"}, {method: "DELETE", path: "/v1/books/b1"}} {
		for _, role := range []string{"", "customer", "Admin", "root"} {
			c.role = role
			a.refused(t, c, 403, "forbidden")
		}
	}
	if a.books.asked != "" {
		t.Errorf("the catalogue was asked: %s", a.books.asked)
	}
	if got := a.do(t, put); got.status != 200 {
		t.Errorf("an admin gets %d %s", got.status, got.body)
	}
}

func TestBooksAreReadByAnyone(t *testing.T) {
	t.Parallel()
	a := setup(t)
	for claim, lines := range map[string][]string{"without a token": nil, "with a bad token": {"Bearer x"}, "with one": {"Bearer " + mint(t, jwt.MapClaims{"sub": "u1"})}} {
		t.Run(claim, func(t *testing.T) {
			for _, path := range []string{"/v1/books", "/v1/books/b1", "/v1/openapi.json", "/healthz", "/readyz", "/metrics"} {
				if got := a.do(t, call{method: "GET", path: path, header: http.Header{"Authorization": lines}}); got.status != 200 {
					t.Errorf("GET %s: %d %s", path, got.status, got.body)
				}
			}
		})
	}
}

type noKeys struct{}

func (noKeys) Verify(context.Context, string) (token.Claims, error) {
	return token.Claims{}, schemas.ErrUnavailable
}

func TestATokenThatNobodyCanCheckIsUnavailable(t *testing.T) {
	t.Parallel()
	a := setup(t, func(c *rest.Config) { c.Tokens = noKeys{} })
	if got := a.refused(t, add, 503, "unavailable"); got.Applied != "no" {
		t.Errorf("applied %q, want no", got.Applied)
	}
	a.carts.none(t)
	if got := a.do(t, call{method: "GET", path: "/v1/books"}); got.status != 200 {
		t.Errorf("what needs no token: %d", got.status)
	}
}
