package rest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/golang-jwt/jwt/v5"

	"cartstream/api/rest"
	"cartstream/schemas"
	"cartstream/schemas/env"
	"cartstream/schemas/link"
)

// reader is the header of a browser, which has no token.
func reader() http.Header {
	return http.Header{"Authorization": nil, "Accept": {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}}
}

// program is the header of a mail program that follows RFC 8058.
func program() http.Header {
	return http.Header{"Authorization": nil, "Content-Type": {"application/x-www-form-urlencoded"}}
}

func (a *api) unsubscribe(user string) string {
	return link.UnsubscribePath + "?token=" + a.links.Unsubscribe(user)
}

func TestFollowingALinkShowsAPageAndChangesNothing(t *testing.T) {
	a := setup(t)
	for claim, header := range map[string]http.Header{"a browser": reader(), "anything else": {"Authorization": nil}} {
		got := a.do(t, call{method: "GET", path: a.unsubscribe("u1"), header: header})
		if got.status != 200 || got.header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(string(got.body), `<form method="post">`) {
			t.Errorf("%s gets %d %s\n%s", claim, got.status, got.header, got.body)
		}
	}
	if got := a.do(t, call{method: "HEAD", path: a.unsubscribe("u1"), header: reader()}); got.status != 200 || len(got.body) != 0 {
		t.Errorf("HEAD: %d %s", got.status, got.body)
	}
	if len(a.optOuts.users) != 0 {
		t.Errorf("opted out: %v", a.optOuts.users)
	}
}

func TestTheButtonAndOneClickEndTheReminders(t *testing.T) {
	for claim, c := range map[string]call{
		"the page's button":           {header: reader(), body: "List-Unsubscribe=One-Click"},
		"RFC 8058, form-encoded":      {header: program(), body: "List-Unsubscribe=One-Click"},
		"RFC 8058, as multipart":      {header: http.Header{"Authorization": nil, "Content-Type": {"multipart/form-data; boundary=b"}}, body: "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n"},
		"no body":                     {header: http.Header{"Authorization": nil}},
		"somebody who is logged in":   {body: "List-Unsubscribe=One-Click"},
		"a page that tells no origin": {header: http.Header{"Authorization": nil, "Origin": {"null"}, "Accept": {"text/html"}}},
	} {
		t.Run(claim, func(t *testing.T) {
			a := setup(t)
			c.method, c.path = "POST", a.unsubscribe("u7")
			for range 2 {
				got := a.do(t, c)
				if got.status != 200 || !strings.Contains(string(got.body), "You get no more mails") || strings.Contains(string(got.body), "<form") {
					t.Errorf("%d %s", got.status, got.body)
				}
			}
			if !slices.Equal(a.optOuts.users, []string{"u7", "u7"}) {
				t.Errorf("opted out: %v", a.optOuts.users)
			}
			if strings.Contains(a.log.String(), a.links.Unsubscribe("u7")) {
				t.Errorf("the token is logged: %s", a.log)
			}
		})
	}
}

func TestABadLinkIsToldAsItsReaderExpects(t *testing.T) {
	a := setup(t)
	others, err := link.New(env.Links{Secret: "another"}, env.JWT{})
	if err != nil {
		t.Fatal(err)
	}
	good := a.links.Unsubscribe("u1")
	for claim, query := range map[string]string{
		"no token": "", "an empty one": "?token=", "one that was cut": "?token=" + good[:len(good)-3], "two": "?token=" + good + "&token=" + good,
		"of another secret": "?token=" + others.Unsubscribe("u1"), "rubbish": "?token=%00%ff<script>",
	} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(claim+"/"+method, func(t *testing.T) {
				p := a.refused(t, call{method: method, path: link.UnsubscribePath + query, header: program()}, 400, "invalid-request")
				if !slices.Equal(p.fields(), []string{"token"}) {
					t.Errorf("errors %v", p.Errors)
				}
				got := a.do(t, call{method: method, path: link.UnsubscribePath + query, header: reader()})
				if got.status != 400 || !strings.Contains(string(got.body), "<h1>This link doesn&#39;t work</h1>") || strings.Contains(string(got.body), "<script") {
					t.Errorf("%d %s", got.status, got.body)
				}
			})
		}
	}
	if len(a.optOuts.users) != 0 {
		t.Errorf("opted out: %v", a.optOuts.users)
	}
}

func TestWhereNothingSignsLinksNoneIsValid(t *testing.T) {
	a := setup(t, func(c *rest.Config) { c.Links = nil })
	a.refused(t, call{method: "POST", path: a.unsubscribe("u1"), header: program()}, 400, "invalid-request")
}

func TestAWishThatCantBeKeptIsNotConfirmed(t *testing.T) {
	a := setup(t)
	a.optOuts.err = fmt.Errorf("opt out: %w: %w", schemas.ErrUnavailable, errors.New("no reachable servers"))
	p := a.refused(t, call{method: "POST", path: a.unsubscribe("u1"), header: program()}, 503, "unavailable")
	if p.Applied != "unknown" {
		t.Errorf("applied %q", p.Applied)
	}
	got := a.do(t, call{method: "POST", path: a.unsubscribe("u1"), header: reader()})
	if got.status != 503 || got.header.Get("Retry-After") == "" || !strings.Contains(string(got.body), "Try again</button>") || strings.Contains(string(got.body), "reachable") {
		t.Errorf("%d %s\n%s", got.status, got.header, got.body)
	}
	if got := a.do(t, call{method: "GET", path: a.unsubscribe("u1"), header: reader()}); got.status != 200 {
		t.Errorf("the page itself needs no MongoDB, but is %d", got.status)
	}
}

func TestAPostThatIsTooLargeOptsNobodyOut(t *testing.T) {
	a := setup(t)
	for _, header := range []http.Header{program(), reader()} {
		a.refused(t, call{method: "POST", path: a.unsubscribe("u1"), header: header, body: strings.Repeat("x", 64<<10+1)}, 413, "payload-too-large")
	}
	a.refused(t, call{method: "DELETE", path: a.unsubscribe("u1")}, 405, "method-not-allowed")
	if len(a.optOuts.users) != 0 {
		t.Errorf("opted out: %v", a.optOuts.users)
	}
}

func TestFollowingLinksCountsForTheAddress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := direct(t, ten)
		for _, method := range []string{"GET", "POST"} {
			for range 10 {
				if got := a.do(t, call{method: method, path: a.unsubscribe("u1"), header: reader()}); got.status != 200 {
					t.Fatalf("%d", got.status)
				}
			}
		}
		a.refused(t, call{method: "POST", path: a.unsubscribe("u2"), header: program()}, 429, "rate-limited")
	})
}

func TestAPageCanDoNothingButSendItsForm(t *testing.T) {
	a := setup(t)
	got := a.do(t, call{method: "GET", path: a.unsubscribe("u1"), header: reader()})
	style := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindSubmatch(got.body)
	if style == nil {
		t.Fatalf("no style in %s", got.body)
	}
	sum := sha256.Sum256(style[1])
	for header, want := range map[string]string{
		"Content-Security-Policy": "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
		"Referrer-Policy":         "no-referrer", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Robots-Tag": "noindex",
	} {
		if value := got.header.Get(header); value != want {
			t.Errorf("%s is %q, want %q", header, value, want)
		}
	}
	for _, part := range []string{`<html lang="en">`, "<title>", "<main>", "<h1>", `<button type="submit"`} {
		if !strings.Contains(string(got.body), part) {
			t.Errorf("%s is missing in %s", part, got.body)
		}
	}
}

func TestTheTokensAddressGoesWithEachMutation(t *testing.T) {
	a := setup(t)
	long := strings.Repeat("a", 242) + "@example.com"
	for claim, want := range map[string]string{
		"u1@example.com": "u1@example.com", "jörg@example.com": "jörg@example.com", long: long,
		"": "", "nobody": "", "@example.com": "", "a@b, c@d": "", "Me <a@b.example>": "", "<a@b.example>": "", "a b@example.com": "",
		"a@example.com\r\nBcc: b@example.com": "", "\x00a@example.com": "", "a@example.com\u2028": "", "a" + long: "", `"a b"@example.com`: "",
	} {
		for _, c := range []call{
			{method: "POST", path: "/v1/cart/items", body: `{"bookId":"b1"}`}, {method: "PUT", path: "/v1/cart/items/b1", body: `{"quantity":1}`},
			{method: "DELETE", path: "/v1/cart/items/b1"}, {method: "POST", path: "/v1/cart/items/b1/acknowledge"}, {method: "DELETE", path: "/v1/cart"},
		} {
			c.header = http.Header{"Authorization": {"Bearer " + mint(t, jwt.MapClaims{"sub": "u1", "email": claim})}}
			if got := a.do(t, c); got.status != 200 {
				t.Fatalf("%q: %d %s", claim, got.status, got.body)
			}
			if got := a.carts.last(t).request.Email; got != want {
				t.Errorf("%s %s with the claim %q: %q", c.method, c.path, claim, got)
			}
		}
	}
	if strings.Contains(a.log.String(), "example.com") {
		t.Errorf("an address is logged: %s", a.log)
	}
}
