package main

import (
	"net"
	"strings"
	"testing"

	"cartstream/schemas/env"
)

func TestMailsAreCaughtWhereNoRelayIsNamed(t *testing.T) {
	t.Run("beside embedded engines they are files", func(t *testing.T) {
		c := newCheckout(t)
		contains(t, c.must("up", "--free-ports", "--embedded"), c.stack().path("data", "mail", "*.eml"))
		r, err := c.stack().state()
		if err != nil {
			t.Fatal(err)
		}
		if r.Env["PUBLIC_URL"] != "http://"+r.Env["HTTP_ADDR"] || r.Env["MAIL_FROM"] == "" {
			t.Errorf("links point to %q, mails are from %q", r.Env["PUBLIC_URL"], r.Env["MAIL_FROM"])
		}
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", r.Env["SMTP_ADDR"])
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		greeting := make([]byte, 3)
		if _, err := conn.Read(greeting); err != nil || string(greeting) != "220" {
			t.Errorf("greeted with %q, %v", greeting, err)
		}
	})
	t.Run("a relay that is named is used as it is", func(t *testing.T) {
		c := newCheckout(t)
		t.Setenv("SMTP_ADDR", "relay.example:25")
		t.Setenv("MAIL_FROM", "shop@example.com")
		t.Setenv("PUBLIC_URL", "https://api.shop.example")
		t.Setenv("SHOP_URL", "https://shop.example/cart")
		contains(t, c.must("up", "--free-ports", "--embedded"), "relay.example:25  (yours)")
		r, err := c.stack().state()
		if err != nil {
			t.Fatal(err)
		}
		if r.Env["SMTP_ADDR"] != "relay.example:25" || r.Env["MAIL_FROM"] != "shop@example.com" || r.Env["PUBLIC_URL"] != "https://api.shop.example" || r.Env["SHOP_URL"] != "https://shop.example/cart" || r.Mails != "" {
			t.Errorf("%v, caught in %q", r.Env, r.Mails)
		}
	})
	t.Run("where up starts no engine it starts no catcher either, and says what that means", func(t *testing.T) {
		c := newCheckout(t)
		for _, e := range engines {
			addr := listener(t).Addr().String()
			if e.variable == "MONGODB_URI" {
				addr = "mongodb://" + addr + "/cartstream"
			}
			t.Setenv(e.variable, addr)
		}
		contains(t, c.must("up", "--free-ports", "--embedded"), "reminders stay queued until SMTP_ADDR and MAIL_FROM are set")
		if c.alive() != "api consumers" {
			t.Errorf("%q runs", c.alive())
		}
	})
	t.Run("with docker compose, Mailpit's page is where up says", func(t *testing.T) {
		s := newCheckout(t).stack()
		r := running{Env: map[string]string{}}
		ports, err := dockerMail(t.Context(), &r, true)
		if err != nil || len(ports) != 2 {
			t.Fatalf("%v, %v", ports, err)
		}
		contains(t, s.mails(r), "http://127.0.0.1:"+strings.TrimPrefix(ports[1], mailUIName+"="))
		if r.Env["SMTP_ADDR"] != "127.0.0.1:"+strings.TrimPrefix(ports[0], mailPortName+"=") {
			t.Errorf("mails go to %s, Mailpit listens on %s", r.Env["SMTP_ADDR"], ports[0])
		}
	})
}

func TestLinksCanBeSignedWhereOnlyKeysAreNamed(t *testing.T) {
	c := newCheckout(t)
	t.Setenv("JWT_JWKS_URL", "http://127.0.0.1/keys")
	r := running{Env: map[string]string{}}
	if err := c.stack().settle(t.Context(), &r, true); err != nil {
		t.Fatal(err)
	}
	if len(r.Env["LINK_SECRET"]) < 32 || r.Env["JWT_SECRET"] != "" {
		t.Errorf("%v", r.Env)
	}
	if err := env.CheckLinks("relay:25", env.Links{Secret: env.Secret(r.Env["LINK_SECRET"]), PublicURL: r.Env["PUBLIC_URL"]}, env.JWT{}); err != nil {
		t.Error(err)
	}
}

func TestATokenNamesAnAddress(t *testing.T) {
	c := newCheckout(t)
	t.Setenv("JWT_SECRET", "0123456789abcdef0123456789abcdef")
	for user, want := range map[string]any{
		"alice": "alice@example.com", "alice@shop.example": "alice@shop.example", "auth0:5f7c": nil, "a@b@c": nil,
	} {
		if got := claims(t, c.must("token", user), "0123456789abcdef0123456789abcdef")["email"]; got != want {
			t.Errorf("%s's is %v, want %v", user, got, want)
		}
	}
}

func TestTheMailCatcherInTheComposeFile(t *testing.T) {
	project := composeProject(t, "SMTP_PORT=11025", "MAIL_UI_PORT=18025", "HTTP_PORT=18080")
	catcher := project.Services[mailService]
	ports := map[uint32]string{}
	for _, p := range catcher.Ports {
		ports[p.Target] = p.Published
	}
	consumers := project.Services["consumers"].Environment
	relayed := composeProject(t, "SMTP_ADDR=relay.example:25", "MAIL_FROM=shop@example.com", "PUBLIC_URL=https://shop.example", "SHOP_URL=https://shop.example/cart").Services["consumers"].Environment
	for claim, holds := range map[string]bool{
		"its ports can be moved, by the names that up sets": ports[mailPort] == "11025" && ports[mailUIPort] == "18025",
		"links point to the API's port":                     *consumers["PUBLIC_URL"] == "http://localhost:18080",
		"mails have a sender":                               *consumers["MAIL_FROM"] == mailFrom,
		"a relay of one's own takes its place":              *relayed["SMTP_ADDR"] == "relay.example:25" && *relayed["MAIL_FROM"] == "shop@example.com" && *relayed["PUBLIC_URL"] == "https://shop.example",
		"a shop's page of the cart is linked to":            *relayed["SHOP_URL"] == "https://shop.example/cart" && consumers["SHOP_URL"] == nil,
		"it changes nothing of itself":                      catcher.ReadOnly,
	} {
		t.Run(claim, func(t *testing.T) {
			if !holds {
				t.Fatal("it does not hold")
			}
		})
	}
}
