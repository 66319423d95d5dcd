package link_test

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"

	"cartstream/schemas/env"
	"cartstream/schemas/link"
)

func signer(t *testing.T, links, jwt env.Secret) *link.Signer {
	t.Helper()
	s, err := link.New(env.Links{Secret: links}, env.JWT{Secret: jwt})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestATokenNamesItsUser(t *testing.T) {
	s := signer(t, "l1nk", "")
	for _, user := range []string{"u1", "auth0:5f7c.8-a_b", "me@example.com", strings.Repeat("u", 64)} {
		token := s.Unsubscribe(user)
		if got, err := s.User(token); err != nil || got != user {
			t.Errorf("%q comes back as %q, %v", user, got, err)
		}
		if token != url.QueryEscape(token) || strings.Contains(token, user) || strings.Contains(token, "example.com") {
			t.Errorf("%q can't be in a link as it is, or shows the user", token)
		}
		if token != s.Unsubscribe(user) {
			t.Error("a second one is another")
		}
	}
}

// A mail that was sent years ago holds this token.
func TestATokenOfAnOldMailStillWorks(t *testing.T) {
	const old = "AXUx.ykWG0nrq937XRwBatogS2uUoFsyGbcikBuvkQXfyC04"
	if user, err := signer(t, "l1nk", "").User(old); err != nil || user != "u1" {
		t.Errorf("%q, %v; now it is %s", user, err, signer(t, "l1nk", "").Unsubscribe("u1"))
	}
}

func TestATokenThatWasNotSignedHereIsRefused(t *testing.T) {
	s := signer(t, "l1nk", "")
	good := s.Unsubscribe("u1")
	payload, sum, _ := strings.Cut(good, ".")
	_, others, _ := strings.Cut(s.Unsubscribe("u2"), ".")
	last := map[bool]string{true: "B", false: "A"}[strings.HasSuffix(sum, "A")]
	for claim, token := range map[string]string{
		"nothing":                          "",
		"only a dot":                       ".",
		"no signature":                     payload,
		"an empty signature":               payload + ".",
		"no payload":                       "." + sum,
		"another user's signature":         payload + "." + others,
		"another user":                     base64.RawURLEncoding.EncodeToString([]byte("\x01u2")) + "." + sum,
		"another version":                  base64.RawURLEncoding.EncodeToString([]byte("\x02u1")) + "." + sum,
		"a signature cut short":            payload + "." + sum[:20],
		"a signature with more":            good + "AAAA",
		"another spelling of the same":     payload + "." + sum[:len(sum)-1] + last,
		"padding":                          good + "=",
		"the other base64":                 strings.NewReplacer("-", "+", "_", "/").Replace(good) + "+",
		"no base64 at all":                 "?." + sum,
		"longer than any user's":           strings.Repeat("A", 1<<16) + "." + sum,
		"signed with another secret":       signer(t, "another", "").Unsubscribe("u1"),
		"signed with the JWT secret alone": signer(t, "", "l1nk2").Unsubscribe("u1"),
		"signed for a user that can't be":  s.Unsubscribe("a b"),
	} {
		t.Run(claim, func(t *testing.T) {
			user, err := s.User(token)
			if !errors.Is(err, link.ErrInvalid) || user != "" {
				t.Fatalf("%q, %v", user, err)
			}
			if len(token) > 8 && strings.Contains(err.Error(), token) {
				t.Errorf("the error holds the token: %v", err)
			}
		})
	}
}

func TestWithoutASecretOfTheirOwnLinksAreSignedWithOneDerivedFromTheTokens(t *testing.T) {
	derived := signer(t, "", "jwt")
	if user, err := derived.User(derived.Unsubscribe("u1")); err != nil || user != "u1" {
		t.Errorf("%q, %v", user, err)
	}
	if _, err := signer(t, "own", "jwt").User(derived.Unsubscribe("u1")); !errors.Is(err, link.ErrInvalid) {
		t.Errorf("with a secret of its own it takes the derived one too: %v", err)
	}
	if _, err := link.New(env.Links{}, env.JWT{JWKSURL: "https://issuer.example/keys"}); !errors.Is(err, link.ErrNoSecret) {
		t.Errorf("without any secret: %v", err)
	}
}

func TestALinkIsBelowThePublicAddress(t *testing.T) {
	s := signer(t, "l1nk", "")
	for public, want := range map[string]string{
		"https://shop.example":       "https://shop.example/v1/reminders/unsubscribe?token=",
		"https://shop.example/":      "https://shop.example/v1/reminders/unsubscribe?token=",
		"http://127.0.0.1:8080/api/": "http://127.0.0.1:8080/api/v1/reminders/unsubscribe?token=",
	} {
		if got := s.UnsubscribeURL(public, "u1"); got != want+s.Unsubscribe("u1") {
			t.Errorf("%s", got)
		}
	}
}
