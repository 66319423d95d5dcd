// Package token says who calls: it checks the JWTs that the REST, WebSocket and ops calls carry, so that every binary
// believes the same tokens.
package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"cartstream/schemas"
	"cartstream/schemas/env"
)

// ErrInvalid is in the chain of every error that the token itself is the reason for: absent, malformed, expired, signed
// by someone else or with an algorithm that its key doesn't have, or for a user that can't exist.
var ErrInvalid = errors.New("invalid token")

// Claims are what a checked token says.
type Claims struct {
	// User is the subject, a valid id.
	User string
	// Admin is the role. Whoever isn't one is a customer.
	Admin bool
	// Email is where reminders go, "" where the token names none. It must not be logged.
	Email string
	// Expires is when the token stops being valid; the zero time says never.
	Expires time.Time
}

// Expired reports whether the token is no longer valid at now.
func (c Claims) Expired(now time.Time) bool { return !c.Expires.IsZero() && !now.Before(c.Expires) }

const (
	// remembered is how many checked tokens are kept, and longest the bytes of the longest among them, so that the
	// memory is bounded whatever is sent.
	remembered = 8192
	longest    = 4096
	// believed is how long a token is taken without looking at its signature again, so that a key that its issuer
	// withdrew is believed no longer than this and a refresh of the keys.
	believed = time.Minute
	// shortest is how many bytes a secret for HS256 should have. Fewer are taken, with a warning: some issuers have fewer.
	shortest = 32
)

// Verifier checks tokens. It may be used by many goroutines.
type Verifier struct {
	parser *jwt.Parser
	secret []byte
	keys   *keySet
	seen   *lru.Cache[string, checked]
}

type checked struct {
	claims Claims
	until  time.Time
}

// New returns a Verifier of the tokens that the settings describe. It asks nobody: keys at JWT_JWKS_URL are read when
// the first token needs them.
func New(settings env.JWT, log *slog.Logger) (*Verifier, error) {
	v := &Verifier{secret: []byte(settings.Secret)}
	var methods []string
	if settings.Secret != "" {
		methods = append(methods, "HS256")
		if len(settings.Secret) < shortest {
			log.Warn("JWT_SECRET is shorter than the 32 bytes that RFC 7518 (3.2) wants for HS256: whoever has one token can search for it, and sign others")
		}
	}
	if settings.JWKSURL != "" {
		v.keys = &keySet{url: settings.JWKSURL, log: log}
		methods = append(methods, "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
			"ES256", "ES384", "ES512", "EdDSA")
	}
	if len(methods) == 0 {
		return nil, errors.New("token: neither a secret nor a JWKS URL to check tokens with")
	}
	options := []jwt.ParserOption{jwt.WithValidMethods(methods), jwt.WithStrictDecoding()}
	if settings.Issuer != "" {
		options = append(options, jwt.WithIssuer(settings.Issuer))
	}
	if settings.Audience != "" {
		options = append(options, jwt.WithAudience(settings.Audience))
	}
	v.parser = jwt.NewParser(options...)
	var err error
	if v.seen, err = lru.New[string, checked](remembered); err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	return v, nil
}

// Close ends the refreshing of keys. No token may be checked afterwards.
func (v *Verifier) Close() {
	if v.keys != nil {
		v.keys.close()
	}
}

// payload is the part of a token that matters here, besides what golang-jwt checks by itself.
type payload struct {
	jwt.RegisteredClaims
	Role  string `json:"role"`
	Email string `json:"email"`
}

// Verify returns what the token says. The error has ErrInvalid in its chain where the token is to blame, or
// schemas.ErrUnavailable where the issuer's keys were never read and can't be now.
func (v *Verifier) Verify(ctx context.Context, raw string) (Claims, error) {
	now := time.Now()
	if known, ok := v.seen.Get(raw); ok && now.Before(known.until) {
		if known.claims.Expired(now) {
			return Claims{}, fmt.Errorf("%w: expired", ErrInvalid)
		}
		return known.claims, nil
	}
	var p payload
	_, err := v.parser.ParseWithClaims(raw, &p, func(t *jwt.Token) (any, error) { return v.key(ctx, t) })
	switch {
	case errors.Is(err, schemas.ErrUnavailable):
		return Claims{}, fmt.Errorf("check token: %w", err)
	case err != nil:
		return Claims{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	case !schemas.ValidID(p.Subject):
		return Claims{}, fmt.Errorf("%w: the subject is no user id", ErrInvalid)
	}
	claims := Claims{User: p.Subject, Admin: p.Role == "admin", Email: p.Email}
	if p.ExpiresAt != nil {
		claims.Expires = p.ExpiresAt.Time
	}
	if len(raw) <= longest {
		v.seen.Add(strings.Clone(raw), checked{claims, now.Add(believed)})
	}
	return claims, nil
}

// key returns the key, or the keys, that may have signed the token, all of the kind that its algorithm needs.
func (v *Verifier) key(ctx context.Context, t *jwt.Token) (any, error) {
	if _, ok := t.Header["crit"]; ok {
		return nil, errors.New("extensions that must be understood aren't") // RFC 7515, section 4.1.11
	}
	if t.Method.Alg() == "HS256" && len(v.secret) > 0 {
		return v.secret, nil
	}
	if v.keys == nil {
		return nil, errors.New("no keys for this algorithm")
	}
	return v.keys.find(ctx, t)
}

// Bearer returns the token of the Authorization header, "" where there is none, or more than one.
func Bearer(h http.Header) string {
	lines := h["Authorization"]
	if len(lines) != 1 {
		return ""
	}
	scheme, raw, ok := strings.Cut(lines[0], " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimLeft(raw, " ")
}
