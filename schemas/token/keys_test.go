package token_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"cartstream/schemas"
	"cartstream/schemas/env"
	"cartstream/schemas/token"
)

// issuer publishes keys, or not.
type issuer struct {
	*httptest.Server
	keys  atomic.Pointer[[]map[string]string]
	down  atomic.Bool
	asked atomic.Int64
}

func newIssuer(t *testing.T, keys ...map[string]string) *issuer {
	i := &issuer{}
	i.keys.Store(&keys)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.asked.Add(1)
		if i.down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": *i.keys.Load()})
	}))
	t.Cleanup(i.Close)
	return i
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func jwk(t *testing.T, kid string, key crypto.PublicKey) map[string]string {
	t.Helper()
	switch k := key.(type) {
	case *rsa.PublicKey:
		return map[string]string{"kty": "RSA", "kid": kid, "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())}
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		return map[string]string{"kty": "EC", "kid": kid, "crv": k.Params().Name, "x": b64(point[1 : 1+half]), "y": b64(point[1+half:])}
	case ed25519.PublicKey:
		return map[string]string{"kty": "OKP", "kid": kid, "crv": "Ed25519", "x": b64(k)}
	case []byte:
		return map[string]string{"kty": "oct", "kid": kid, "k": b64(k)}
	}
	t.Fatalf("no JWK for %T", key)
	return nil
}

func TestAnyKeyOfTheIssuerIsBelievedForItsOwnAlgorithms(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	oct := []byte("a symmetric key of the issuer, 256 bits long")
	pinned := jwk(t, "pinned", &rsaKey.PublicKey)
	pinned["alg"] = "PS256"
	i := newIssuer(t, jwk(t, "rsa", &rsaKey.PublicKey), jwk(t, "p256", &p256.PublicKey), jwk(t, "p521", &p521.PublicKey),
		jwk(t, "ed", public), jwk(t, "oct", oct), pinned)
	v := setup(t, env.JWT{JWKSURL: i.URL})
	der, err := x509.MarshalPKIXPublicKey(&rsaKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for claim, tc := range map[string]struct {
		alg, kid string
		key      any
		good     bool
	}{
		"RS256":                                 {"RS256", "rsa", rsaKey, true},
		"RS512":                                 {"RS512", "rsa", rsaKey, true},
		"PS384":                                 {"PS384", "rsa", rsaKey, true},
		"ES256":                                 {"ES256", "p256", p256, true},
		"ES512":                                 {"ES512", "p521", p521, true},
		"EdDSA":                                 {"EdDSA", "ed", private, true},
		"HS256 with a symmetric key of the set": {"HS256", "oct", oct, true},
		"no key id, RSA":                        {"RS256", "", rsaKey, true},
		"no key id, EdDSA":                      {"EdDSA", "", private, true},
		"no key id, another key":                {"RS256", "", other, false},
		"a key id of another key":               {"RS256", "rsa", other, false},
		"a key id of another kind":              {"RS256", "p256", rsaKey, false},
		"an algorithm that the key doesn't allow": {"RS256", "pinned", rsaKey, false},
		"the one that it does allow":              {"PS256", "pinned", rsaKey, true},
		"HMAC with the public key in PEM":         {"HS256", "rsa", asPEM, false},
		"HMAC with the public key in DER":         {"HS256", "rsa", der, false},
		"HMAC with the public key, no key id":     {"HS256", "", asPEM, false},
		"HMAC with the modulus":                   {"HS256", "rsa", rsaKey.N.Bytes(), false},
		"none":                                    {"none", "rsa", jwt.UnsafeAllowNoneSignatureType, false},
	} {
		t.Run(claim, func(t *testing.T) {
			got, err := v.Verify(t.Context(), sign(t, tc.alg, tc.kid, tc.key, jwt.MapClaims{"sub": "u1", "exp": inAnHour()}))
			switch {
			case tc.good && (err != nil || got.User != "u1"):
				t.Errorf("got %+v, %v, want u1", got, err)
			case !tc.good && !errors.Is(err, token.ErrInvalid):
				t.Errorf("got %+v, %v, want ErrInvalid", got, err)
			}
		})
	}
}

func TestASecretIsNoKeyForWhatTheIssuerSigns(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	v := setup(t, env.JWT{Secret: secret, JWKSURL: newIssuer(t, jwk(t, "k1", &key.PublicKey)).URL})
	if _, err := v.Verify(t.Context(), sign(t, "RS256", "k1", key, jwt.MapClaims{"sub": "u1"})); err != nil {
		t.Errorf("the issuer's key: %v", err)
	}
	if _, err := v.Verify(t.Context(), sign(t, "HS256", "k1", []byte(secret), jwt.MapClaims{"sub": "u1"})); err != nil {
		t.Errorf("the secret: %v", err)
	}
	if _, err := v.Verify(t.Context(), sign(t, "HS256", "k1", key.N.Bytes(), jwt.MapClaims{"sub": "u1"})); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("the public key as a secret: %v, want ErrInvalid", err)
	}
}

func TestKeysAreReadWhenNeeded(t *testing.T) {
	t.Parallel()
	first, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	second, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := newIssuer(t, jwk(t, "first", &first.PublicKey))
	i.down.Store(true)
	v := setup(t, env.JWT{JWKSURL: i.URL})
	if i.asked.Load() != 0 {
		t.Error("the issuer was asked before any token came")
	}
	raw := sign(t, "RS256", "first", first, jwt.MapClaims{"sub": "u1"})
	for range 3 {
		if _, err := v.Verify(t.Context(), raw); !errors.Is(err, schemas.ErrUnavailable) || errors.Is(err, token.ErrInvalid) {
			t.Fatalf("issuer away: %v, want ErrUnavailable alone", err)
		}
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times at once, want 1", n)
	}
	i.down.Store(false)
	eventually(t, "the issuer is back", func() bool { _, err := v.Verify(t.Context(), raw); return err == nil })

	i.keys.Store(&[]map[string]string{jwk(t, "second", &second.PublicKey)})
	rotated := sign(t, "RS256", "second", second, jwt.MapClaims{"sub": "u2"})
	eventually(t, "a key that came later is found", func() bool { _, err := v.Verify(t.Context(), rotated); return err == nil })

	i.down.Store(true)
	if _, err := v.Verify(t.Context(), sign(t, "RS256", "second", second, jwt.MapClaims{"sub": "u3"})); err != nil {
		t.Errorf("issuer away again, keys known: %v", err)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}
