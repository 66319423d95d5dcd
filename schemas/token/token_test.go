package token_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"cartstream/schemas/env"
	"cartstream/schemas/token"
)

const secret = "a secret for tests"

func setup(t *testing.T, settings env.JWT) *token.Verifier {
	t.Helper()
	v, err := token.New(settings, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

func sign(t *testing.T, alg, kid string, key any, claims jwt.MapClaims) string {
	t.Helper()
	unsigned := jwt.NewWithClaims(jwt.GetSigningMethod(alg), claims)
	if kid != "" {
		unsigned.Header["kid"] = kid
	}
	raw, err := unsigned.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// jwtOf signs any header and payload with the secret.
func jwtOf(header, payload string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func inAnHour() int64 { return time.Now().Add(time.Hour).Unix() }

func TestAShortSecretIsTakenWithAWarning(t *testing.T) {
	for claim, tc := range map[string]struct {
		settings env.JWT
		warned   bool
	}{
		"32 bytes": {env.JWT{Secret: env.Secret(strings.Repeat("s", 32))}, false},
		"31 bytes": {env.JWT{Secret: env.Secret(strings.Repeat("s", 31))}, true},
		"none, where the issuer's keys are asked for": {env.JWT{JWKSURL: "https://issuer.example/keys"}, false},
	} {
		t.Run(claim, func(t *testing.T) {
			var out strings.Builder
			v, err := token.New(tc.settings, slog.New(slog.NewTextHandler(&out, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			if warned := strings.Count(out.String(), "level=WARN") == 1 && strings.Contains(out.String(), "JWT_SECRET"); warned != tc.warned || strings.Contains(out.String(), "sss") {
				t.Errorf("logged %q", out.String())
			}
			if !tc.warned {
				return
			}
			raw := sign(t, "HS256", "", []byte(tc.settings.Secret), jwt.MapClaims{"sub": "u1", "exp": inAnHour()})
			if _, err := v.Verify(t.Context(), raw); err != nil {
				t.Errorf("not taken: %v", err)
			}
		})
	}
}

func TestATokenSaysWhoCalls(t *testing.T) {
	t.Parallel()
	v := setup(t, env.JWT{Secret: secret})
	expires := inAnHour()
	for claim, tc := range map[string]struct {
		claims jwt.MapClaims
		want   token.Claims
	}{
		"a subject alone is a customer for ever": {jwt.MapClaims{"sub": "u1"}, token.Claims{User: "u1"}},
		"an expiry is kept":                      {jwt.MapClaims{"sub": "u1", "exp": expires}, token.Claims{User: "u1", Expires: time.Unix(expires, 0)}},
		"an admin is one":                        {jwt.MapClaims{"sub": "a:b@c.d-e_f", "role": "admin"}, token.Claims{User: "a:b@c.d-e_f", Admin: true}},
		"a customer is none":                     {jwt.MapClaims{"sub": "u1", "role": "customer"}, token.Claims{User: "u1"}},
		"any other role is a customer":           {jwt.MapClaims{"sub": "u1", "role": "Admin"}, token.Claims{User: "u1"}},
		"the address for reminders is kept":      {jwt.MapClaims{"sub": "u1", "email": "u1@example.org"}, token.Claims{User: "u1", Email: "u1@example.org"}},
	} {
		t.Run(claim, func(t *testing.T) {
			raw := sign(t, "HS256", "", []byte(secret), tc.claims)
			for _, when := range []string{"first", "again"} {
				got, err := v.Verify(t.Context(), raw)
				if err != nil {
					t.Fatalf("%s: %v", when, err)
				}
				if !got.Expires.Equal(tc.want.Expires) {
					t.Errorf("%s: expires %v, want %v", when, got.Expires, tc.want.Expires)
				}
				got.Expires = tc.want.Expires // Equal, but perhaps in another zone
				if got != tc.want {
					t.Errorf("%s: got %+v, want %+v", when, got, tc.want)
				}
			}
		})
	}
}

func TestABadTokenIsInvalid(t *testing.T) {
	t.Parallel()
	v := setup(t, env.JWT{Secret: secret, Issuer: "https://issuer.example", Audience: "cartstream"})
	good := func(more jwt.MapClaims) jwt.MapClaims {
		claims := jwt.MapClaims{"sub": "u1", "exp": inAnHour(), "iss": "https://issuer.example", "aud": []string{"other", "cartstream"}}
		for name, value := range more {
			claims[name] = value
			if value == nil {
				delete(claims, name)
			}
		}
		return claims
	}
	hs := func(claims jwt.MapClaims) string { return sign(t, "HS256", "", []byte(secret), claims) }
	valid := hs(good(nil))
	if _, err := v.Verify(t.Context(), valid); err != nil {
		t.Fatalf("the token that the others are bent from: %v", err)
	}
	parts := strings.Split(valid, ".")
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for claim, raw := range map[string]string{
		"nothing":                     "",
		"no token at all":             "hello",
		"two parts":                   parts[0] + "." + parts[1],
		"four parts":                  valid + ".x",
		"no signature":                parts[0] + "." + parts[1] + ".",
		"another payload":             parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"u2"}`)) + "." + parts[2],
		"the payload null":            jwtOf(`{"alg":"HS256"}`, `null`),
		"a header that is critical":   jwtOf(`{"alg":"HS256","crit":["b64"],"b64":false}`, `{"sub":"u1","iss":"https://issuer.example","aud":"cartstream"}`),
		"alg none":                    sign(t, "none", "", jwt.UnsafeAllowNoneSignatureType, good(nil)),
		"another secret":              sign(t, "HS256", "", []byte("another"), good(nil)),
		"an empty secret":             sign(t, "HS256", "", []byte(""), good(nil)),
		"HS384 with the secret":       sign(t, "HS384", "", []byte(secret), good(nil)),
		"HS512 with the secret":       sign(t, "HS512", "", []byte(secret), good(nil)),
		"RS256 where no keys are":     sign(t, "RS256", "k1", rsaKey, good(nil)),
		"expired":                     hs(good(jwt.MapClaims{"exp": time.Now().Add(-time.Second).Unix()})),
		"an expiry that is no number": hs(good(jwt.MapClaims{"exp": "tomorrow"})),
		"not yet valid":               hs(good(jwt.MapClaims{"nbf": inAnHour()})),
		"no subject":                  hs(good(jwt.MapClaims{"sub": nil})),
		"an empty subject":            hs(good(jwt.MapClaims{"sub": ""})),
		"a subject with a space":      hs(good(jwt.MapClaims{"sub": "u 1"})),
		"a subject with a newline":    hs(good(jwt.MapClaims{"sub": "u1\n"})),
		"a subject of 65 characters":  hs(good(jwt.MapClaims{"sub": strings.Repeat("u", 65)})),
		"a subject that is a number":  hs(good(jwt.MapClaims{"sub": 1})),
		"a role that is a list":       hs(good(jwt.MapClaims{"role": []string{"admin"}})),
		"another issuer":              hs(good(jwt.MapClaims{"iss": "https://evil.example"})),
		"no issuer":                   hs(good(jwt.MapClaims{"iss": nil})),
		"another audience":            hs(good(jwt.MapClaims{"aud": "other"})),
		"no audience":                 hs(good(jwt.MapClaims{"aud": nil})),
	} {
		t.Run(claim, func(t *testing.T) {
			if got, err := v.Verify(t.Context(), raw); !errors.Is(err, token.ErrInvalid) {
				t.Errorf("got %+v, %v, want ErrInvalid", got, err)
			}
		})
	}
}

func TestATokenExpiresWhetherItWasSeenOrNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := setup(t, env.JWT{Secret: secret})
		raw := sign(t, "HS256", "", []byte(secret), jwt.MapClaims{"sub": "u1", "exp": time.Now().Add(10 * time.Second).Unix()})
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Errorf("a second before: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := v.Verify(t.Context(), raw); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("at its expiry: %v, want ErrInvalid", err)
		}
	})
}

func TestTheTokenIsTheHeadersOne(t *testing.T) {
	t.Parallel()
	for claim, tc := range map[string]struct {
		lines []string
		want  string
	}{
		"a bearer's":               {[]string{"Bearer a.b.c"}, "a.b.c"},
		"a scheme in any case":     {[]string{"bEARER a.b.c"}, "a.b.c"},
		"more than one space":      {[]string{"Bearer   a.b.c"}, "a.b.c"},
		"none without a header":    {nil, ""},
		"none of another scheme":   {[]string{"Basic a.b.c"}, ""},
		"none of a scheme alone":   {[]string{"Bearer"}, ""},
		"none where there are two": {[]string{"Bearer a.b.c", "Bearer d.e.f"}, ""},
		"none without a scheme":    {[]string{"a.b.c"}, ""},
	} {
		t.Run(claim, func(t *testing.T) {
			if got := token.Bearer(http.Header{"Authorization": tc.lines}); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	v, err := token.New(env.JWT{Secret: secret}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "u1", "exp": inAnHour()}).SignedString([]byte(secret))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := v.Verify(b.Context(), raw); err != nil {
			b.Fatal(err)
		}
	}
}
