package env_test

import (
	"fmt"
	"strings"
	"testing"

	"cartstream/schemas/env"
)

func TestMailsNeedARelayAndASender(t *testing.T) {
	for claim, c := range map[string]struct {
		environ map[string]string
		wanted  bool
		fault   string
	}{
		"neither: nothing is sent":           {},
		"both":                               {environ: map[string]string{"SMTP_ADDR": "relay:25", "MAIL_FROM": "shop@example.com"}, wanted: true},
		"a sender with a name":               {environ: map[string]string{"SMTP_ADDR": "relay:25", "MAIL_FROM": "The Shop <shop@example.com>"}, wanted: true},
		"a user, with TLS from the start":    {environ: map[string]string{"SMTP_ADDR": "relay:465", "MAIL_FROM": "a@b", "SMTP_USERNAME": "u", "SMTP_PASSWORD": "s3cret", "SMTP_TLS": "implicit"}, wanted: true},
		"a relay alone":                      {environ: map[string]string{"SMTP_ADDR": "relay:25"}, fault: "MAIL_FROM is unset"},
		"a sender alone":                     {environ: map[string]string{"MAIL_FROM": "a@b"}, fault: "SMTP_ADDR is unset"},
		"a relay without a port":             {environ: map[string]string{"SMTP_ADDR": "relay", "MAIL_FROM": "a@b"}, fault: "SMTP_ADDR holds"},
		"a sender that is none":              {environ: map[string]string{"SMTP_ADDR": "relay:25", "MAIL_FROM": "the shop"}, fault: "MAIL_FROM is"},
		"a user without a password":          {environ: map[string]string{"SMTP_ADDR": "relay:25", "MAIL_FROM": "a@b", "SMTP_USERNAME": "u"}, fault: "SMTP_USERNAME and"},
		"a password without a user":          {environ: map[string]string{"SMTP_ADDR": "relay:25", "MAIL_FROM": "a@b", "SMTP_PASSWORD": "s3cret"}, fault: "SMTP_USERNAME and"},
		"a password that everybody can read": {environ: map[string]string{"SMTP_ADDR": "relay:25", "MAIL_FROM": "a@b", "SMTP_USERNAME": "u", "SMTP_PASSWORD": "s3cret", "SMTP_TLS": "none"}, fault: "SMTP_TLS is none"},
		"a kind of TLS that isn't there":     {environ: map[string]string{"SMTP_TLS": "maybe"}, fault: `SMTP_TLS is "maybe"`},
		"a relay that has for ever":          {environ: map[string]string{"SMTP_TIMEOUT": "10m"}, fault: "SMTP_TIMEOUT is"},
	} {
		t.Run(claim, func(t *testing.T) {
			for name, value := range c.environ {
				t.Setenv(name, value)
			}
			var got env.Mail
			err := env.Parse(&got)
			switch {
			case c.fault == "" && err != nil:
				t.Fatal(err)
			case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
				t.Fatalf("got %v, want a fault about %s", err, c.fault)
			case err == nil && got.Wanted() != c.wanted:
				t.Errorf("mails are wanted: %v", got.Wanted())
			}
			if shown := fmt.Sprintf("%v %+v %v", got, got, err); strings.Contains(shown, "s3cret") {
				t.Errorf("the password is shown: %s", shown)
			}
		})
	}
}

func TestLinksPointToAnAddress(t *testing.T) {
	for value, good := range map[string]bool{
		"": true, "https://shop.example": true, "http://127.0.0.1:8080/": true, "https://shop.example/api": true,
		"shop.example": false, "ftp://shop.example": false, "https://": false, "https://me:s3cret@shop.example": false,
		"https://shop.example?x=1": false, "https://shop.example#top": false, "https://shop.example/<b>": false,
	} {
		t.Run(value, func(t *testing.T) {
			t.Setenv("PUBLIC_URL", value)
			err := env.Parse(&env.Links{})
			if (err == nil) != good {
				t.Fatal(err)
			}
			if err != nil && (!strings.Contains(err.Error(), "PUBLIC_URL") || strings.Contains(err.Error(), "s3cret")) {
				t.Error(err)
			}
		})
	}
}

func TestTheCartsPageMayBeAnyPage(t *testing.T) {
	for value, good := range map[string]bool{
		"": true, "https://shop.example/cart": true, "https://shop.example/?from=mail#/cart": true, "http://localhost:3000": true,
		"shop.example": false, "javascript:alert(1)": false, "https:///cart": false, "https://me:s3cret@shop.example": false, "https://shop.example/a b": false,
	} {
		t.Run(value, func(t *testing.T) {
			t.Setenv("SHOP_URL", value)
			got := env.Links{}
			err := env.Parse(&got)
			if (err == nil) != good || good && got.ShopURL != value {
				t.Fatalf("%q, %v", got.ShopURL, err)
			}
			if err != nil && (!strings.Contains(err.Error(), "SHOP_URL") || strings.Contains(err.Error(), "s3cret")) {
				t.Error(err)
			}
		})
	}
}

func TestMailsNeedLinksThatCanBeSigned(t *testing.T) {
	signed := env.Links{Secret: "l1nk", PublicURL: "https://shop.example"}
	for claim, c := range map[string]struct {
		relay string
		links env.Links
		jwt   env.JWT
		fault string
	}{
		"a secret of their own":             {"relay:25", signed, env.JWT{JWKSURL: "https://issuer.example"}, ""},
		"one derived from the tokens'":      {"relay:25", env.Links{PublicURL: signed.PublicURL}, env.JWT{Secret: "jwt"}, ""},
		"neither":                           {"relay:25", env.Links{PublicURL: signed.PublicURL}, env.JWT{JWKSURL: "https://issuer.example"}, "LINK_SECRET is unset"},
		"no mails, so none of it is needed": {"", env.Links{}, env.JWT{JWKSURL: "https://issuer.example"}, ""},
	} {
		t.Run(claim, func(t *testing.T) {
			err := env.CheckLinks(c.relay, c.links, c.jwt)
			if (c.fault == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("got %v, want a fault about %q", err, c.fault)
			}
		})
	}
}
