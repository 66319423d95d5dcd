// Package link signs the links in mails and checks them when they come back, so that a mail's reader can act without a
// token of their own.
package link

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"cartstream/schemas"
	"cartstream/schemas/env"
)

// ErrInvalid is in the chain of every error of a token that was not signed here, or not for this purpose.
var ErrInvalid = errors.New("invalid link token")

// ErrNoSecret says that there is nothing to sign with: neither LINK_SECRET nor JWT_SECRET is set.
var ErrNoSecret = errors.New("no secret for links")

// UnsubscribePath is the API's path that an unsubscribe token belongs to, as its query parameter token.
const UnsubscribePath = "/v1/reminders/unsubscribe"

const (
	// label makes the key good for these links alone, whatever else its secret is used for. It never changes: links of
	// old mails must work.
	label = "cartstream unsubscribe links v1"
	// version is the first byte of a payload. Whoever changes what follows it takes another.
	version = 1
)

// encoding refuses all but one spelling of a token.
var encoding = base64.RawURLEncoding.Strict()

// Signer signs and checks tokens. It may be used by many goroutines.
type Signer struct{ key []byte }

// New returns a Signer with a key derived from LINK_SECRET, else from JWT_SECRET. The error is ErrNoSecret where neither
// is set.
func New(l env.Links, j env.JWT) (*Signer, error) {
	secret := l.Secret
	if secret == "" {
		secret = j.Secret
	}
	if secret == "" {
		return nil, ErrNoSecret
	}
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, label, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive the key of links: %w", err)
	}
	return &Signer{key}, nil
}

// Unsubscribe returns the token by which whoever holds it may end the user's reminders. It holds the user's id and no
// address, never expires, and is always the same for a user and a secret. It needs no escaping in a query.
func (s *Signer) Unsubscribe(user string) string {
	payload := append([]byte{version}, user...)
	return encoding.EncodeToString(payload) + "." + encoding.EncodeToString(s.sum(payload))
}

// UnsubscribeURL returns the link with the user's token, below the API's public address.
func (s *Signer) UnsubscribeURL(public, user string) string {
	return strings.TrimRight(public, "/") + UnsubscribePath + "?token=" + url.QueryEscape(s.Unsubscribe(user))
}

// User returns whose reminders the token ends. The error has ErrInvalid in its chain and nothing of the token in its
// text. How long it takes doesn't tell how much of a token is right.
func (s *Signer) User(token string) (string, error) {
	encoded, signature, ok := strings.Cut(token, ".")
	if !ok || len(token) > 256 {
		return "", fmt.Errorf("%w: not of its form", ErrInvalid)
	}
	payload, err := encoding.DecodeString(encoded)
	if err != nil || len(payload) < 1 {
		return "", fmt.Errorf("%w: not of its form", ErrInvalid)
	}
	sum, err := encoding.DecodeString(signature)
	if err != nil {
		return "", fmt.Errorf("%w: not of its form", ErrInvalid)
	}
	if !hmac.Equal(sum, s.sum(payload)) {
		return "", fmt.Errorf("%w: signed with another secret, or changed", ErrInvalid)
	}
	user := string(payload[1:])
	if payload[0] != version || !schemas.ValidID(user) {
		return "", fmt.Errorf("%w: of another version", ErrInvalid)
	}
	return user, nil
}

func (s *Signer) sum(payload []byte) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write(payload)
	return mac.Sum(nil)
}
