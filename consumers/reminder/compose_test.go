package reminder_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/prometheus/client_golang/prometheus"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// parts returns the mail's bodies by media type, in their order.
func parts(t *testing.T, m taken) (text, rich string) {
	t.Helper()
	kind, p, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	must(t, err)
	if kind != "multipart/alternative" {
		t.Fatalf("Content-Type %s", kind)
	}
	r := multipart.NewReader(m.Body, p["boundary"])
	var bodies []string
	for {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		var body io.Reader = part
		switch part.Header.Get("Content-Transfer-Encoding") {
		case "quoted-printable":
			body = quotedprintable.NewReader(part)
		case "base64":
			body = base64.NewDecoder(base64.StdEncoding, part)
		}
		b, err := io.ReadAll(body)
		must(t, err)
		bodies = append(bodies, part.Header.Get("Content-Type"), string(b))
	}
	if len(bodies) != 4 || bodies[0] != "text/plain; charset=UTF-8" || bodies[2] != "text/html; charset=UTF-8" {
		t.Fatalf("parts %q", bodies)
	}
	return strings.ReplaceAll(bodies[1], "\r\n", "\n"), bodies[3]
}

// mailOf sends a reminder of such a cart and returns the mail.
func mailOf(t *testing.T, currency string, lines ...schemas.Line) (*bundle, taken) {
	t.Helper()
	b := setup(t, newRelay(t, rules{}))
	r := b.idle("u1", 7, lines...)
	b.carts.change("u1", func(c *cart.Contact) { c.Cart.Currency = currency })
	must(t, b.handle(t, r))
	mails := b.relay.took()
	if len(mails) != 1 {
		t.Fatalf("%d mails", len(mails))
	}
	return b, mails[0]
}

func TestAMailShowsTheCart(t *testing.T) {
	dracula := schemas.Line{BookID: "b2", Title: "Dracula", UnitPrice: 999, Quantity: 1, LineTotal: 999, Availability: schemas.OutOfStock}
	b, m := mailOf(t, "EUR", emma, dracula)
	text, rich := parts(t, m)
	unsubscribe := public + "/v1/reminders/unsubscribe?token=" + b.links.Unsubscribe("u1")
	for header, want := range map[string]string{
		"From": `"The Shop" <shop@example.com>`, "To": "<u1@example.com>", "Subject": "You left 2 books in your cart",
		"List-Unsubscribe": "<" + unsubscribe + ">", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
		"Auto-Submitted": "auto-generated", "Mime-Version": "1.0", "X-Mailer": "", "User-Agent": "",
	} {
		if got := m.Header.Get(header); got != want {
			t.Errorf("%s is %q, want %q", header, got, want)
		}
	}
	if id := m.Header.Get("Message-Id"); !strings.HasSuffix(id, "@example.com>") || strings.Contains(id, "u1@") {
		t.Errorf("Message-ID %s", id)
	}
	if _, err := m.Header.Date(); err != nil {
		t.Error(err)
	}
	want := fmt.Sprintf(`You left 2 books in your cart

- 2 x Emma: EUR 25.98 (EUR 12.99 each)
- 1 x Dracula (not available right now)

Total: EUR 25.98

It is all still there:
%s

You get this mail once for a cart that was left alone. To get no more of them:
%s
`, shop, unsubscribe)
	if text != want {
		t.Errorf("the text is\n%s\nwant\n%s", text, want)
	}
	for _, part := range []string{"Emma", "EUR 25.98", "Dracula", "not available right now", `href="` + strings.ReplaceAll(shop, "&", "&amp;") + `"`, `href="` + unsubscribe + `"`} {
		if !strings.Contains(rich, part) {
			t.Errorf("%q is missing in\n%s", part, rich)
		}
	}
}

func TestWithoutAPageOfTheCartNoneIsLinkedTo(t *testing.T) {
	b := setup(t, newRelay(t, rules{}))
	m := b.anotherLinking(t, prometheus.NewRegistry(), public, "")
	must(t, m.Handle(t.Context(), batch(b.idle("u1", 7))))
	text, rich := parts(t, b.relay.took()[0])
	if strings.Count(text, "https://") != 1 || strings.Count(rich, "href=") != 1 || strings.Contains(rich, "Open your cart") || strings.Contains(text, "still there") {
		t.Errorf("more is linked to than how to end them:\n%s\n%s", text, rich)
	}
	if !strings.Contains(text, "Total: EUR 25.98\n\nYou get this mail once") {
		t.Errorf("the text is\n%s", text)
	}
}

// RFC 8058 asks for HTTPS. For whoever tries it out on one machine, that machine is as good.
func TestOneClickIsOfferedWhereItCanBeTrusted(t *testing.T) {
	for public, want := range map[string]bool{
		"https://shop.example/api": true, "HTTPS://shop.example": true, "http://localhost:8080": true, "http://127.0.0.1:8080": true, "http://[::1]:8080": true,
		"http://shop.example": false, "http://10.0.0.1": false, "http://localhost.example": false,
	} {
		t.Run(public, func(t *testing.T) {
			t.Parallel()
			b := setup(t, newRelay(t, rules{}))
			m := b.anotherLinking(t, prometheus.NewRegistry(), public, shop)
			if warned := strings.Count(b.log.String(), "PUBLIC_URL"); warned > 1 || warned == 1 == want {
				t.Errorf("warned %d times", warned)
			}
			must(t, m.Handle(t.Context(), batch(b.idle("u1", 7))))
			header := b.relay.took()[0].Header
			if got := header.Get("List-Unsubscribe"); got != "<"+b.links.UnsubscribeURL(public, "u1")+">" {
				t.Errorf("List-Unsubscribe is %s", got)
			}
			if got := header.Get("List-Unsubscribe-Post"); got == "List-Unsubscribe=One-Click" != want || !want && got != "" {
				t.Errorf("List-Unsubscribe-Post is %q", got)
			}
		})
	}
}

func TestATitleIsNothingButATitle(t *testing.T) {
	evil := func(title string) schemas.Line {
		return schemas.Line{BookID: "b1", Title: title, UnitPrice: 1, Quantity: 1, LineTotal: 1, Availability: schemas.Available}
	}
	_, m := mailOf(t, "EUR", evil(`<script>alert("x")</script>`), evil("one\u2028two\u0085three\rfour\nBcc: me"), evil("{{.Unsubscribe}} %s &amp;"),
		evil("\u202egnorw"), evil(strings.Repeat("ß", 500)), evil("<img src=x onerror=y>"))
	text, rich := parts(t, m)
	if strings.Contains(rich, "<script") || strings.Contains(rich, "<img") || !strings.Contains(rich, "{{.Unsubscribe}} %s &amp;amp;") {
		t.Errorf("a title does something:\n%s", rich)
	}
	if !strings.Contains(text, "- 1 x one two three four Bcc: me: EUR 0.01\n") || !strings.Contains(text, "- 1 x gnorw: ") ||
		!strings.Contains(text, "- 1 x "+strings.Repeat("ß", 119)+"…: ") {
		t.Errorf("a title doesn't stay on its line:\n%s", text)
	}
}

func TestALongCartIsShownInPart(t *testing.T) {
	var lines []schemas.Line
	for n := range 500 {
		lines = append(lines, schemas.Line{BookID: fmt.Sprint("b", n), Title: fmt.Sprint("Book ", n), UnitPrice: 100, Quantity: 1, LineTotal: 100, Availability: schemas.Available})
	}
	_, m := mailOf(t, "EUR", lines...)
	text, rich := parts(t, m)
	for kind, body := range map[string]string{"text": text, "HTML": rich} {
		if strings.Count(body, "Book ") != 10 || !strings.Contains(body, "and 490 more") || !strings.Contains(body, "EUR 500.00") {
			t.Errorf("the %s shows:\n%s", kind, body)
		}
	}
	if m.Header.Get("Subject") != "You left 500 books in your cart" {
		t.Error(m.Header.Get("Subject"))
	}
}

func TestPricesAreThoseOfTheirCurrency(t *testing.T) {
	for currency, want := range map[string]string{
		"EUR": "Total: EUR 12345.67\n", "JPY": "Total: JPY 1234567\n", "BHD": "Total: BHD 1234.567\n", "QQQ": "Total: QQQ 12345.67\n",
	} {
		t.Run(currency, func(t *testing.T) {
			t.Parallel()
			_, m := mailOf(t, currency, schemas.Line{BookID: "b1", Title: "Emma", UnitPrice: 1234567, Quantity: 1, LineTotal: 1234567, Availability: schemas.Available})
			if text, _ := parts(t, m); !strings.Contains(text, want) || m.Header.Get("Subject") != "You left a book in your cart" {
				t.Errorf("%q\n%s", m.Header.Get("Subject"), text)
			}
		})
	}
}

// SMTPUTF8 asks every server on the way for it, so a mail asks only if it needs it.
func TestOnlyAnAddressBeyondASCIINeedsSMTPUTF8(t *testing.T) {
	for address, want := range map[string]bool{"u1@example.com": false, "jörg@example.com": true} {
		b := setup(t, newRelay(t, rules{}, func(s *smtp.Server) { s.EnableSMTPUTF8 = true }))
		r := b.idle("u1", 7)
		b.carts.change("u1", func(c *cart.Contact) { c.Email = address })
		must(t, b.handle(t, r))
		if got := b.relay.took()[0]; got.utf8 != want || got.to != address {
			t.Errorf("to %s with SMTPUTF8: %v", got.to, got.utf8)
		}
	}
}

// Many a program that looks for the link reads lines, not fields.
func TestTheLinkIsOnOneLine(t *testing.T) {
	relay := newRelay(t, rules{})
	var raw string
	relay.now(rules{raw: func(mail string) { raw = mail }})
	b := setup(t, relay)
	must(t, b.handle(t, b.idle("u1", 7)))
	want := "\r\nList-Unsubscribe: <" + public + "/v1/reminders/unsubscribe?token=" + b.links.Unsubscribe("u1") + ">\r\n"
	if !strings.Contains(raw, want) {
		t.Errorf("%q is missing in\n%s", want, raw)
	}
}
