package reminder

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	html "html/template"
	"net"
	netmail "net/mail"
	"net/url"
	"strings"
	text "text/template"
	"time"
	"unicode"

	"github.com/wneessen/go-mail"

	"cartstream/api/cart"
	"cartstream/schemas"
	"cartstream/schemas/link"
)

const (
	// shown is how many lines of a cart a mail shows, titleMost how many characters of a title.
	shown     = 10
	titleMost = 120
)

//go:embed templates
var templates embed.FS

// composer writes the mails. It may be used by many goroutines.
type composer struct {
	from   *netmail.Address
	domain string // of the sender
	public string
	click  bool // once is enough: RFC 8058
	shop   string
	links  *link.Signer
	html   *html.Template
	text   *text.Template
}

func newComposer(from, public, shop string, links *link.Signer) (*composer, error) {
	c := &composer{public: public, click: private(public), shop: shop, links: links}
	var err error
	if c.from, err = netmail.ParseAddress(from); err != nil {
		return nil, fmt.Errorf("MAIL_FROM: %w", err)
	}
	c.domain = c.from.Address[strings.LastIndexByte(c.from.Address, '@')+1:]
	if c.html, err = html.ParseFS(templates, "templates/reminder.html"); err != nil {
		return nil, fmt.Errorf("reminder: %w", err)
	}
	if c.text, err = text.ParseFS(templates, "templates/reminder.txt"); err != nil {
		return nil, fmt.Errorf("reminder: %w", err)
	}
	return c, nil
}

// content is what the templates show. Texts are plain: html/template escapes them.
type content struct {
	Subject     string
	Lines       []row
	More        int // lines that aren't shown
	Total       string
	Cart        string // link, "" for none
	Unsubscribe string // link
}

type row struct {
	Title, UnitPrice, LineTotal string
	Quantity                    int64
	Gone                        bool // can't be bought now, so it isn't in the total
}

// errAddress says that the address can't be one. Its text doesn't hold it.
var errAddress = errors.New("the user's address can't be one")

// compose returns the mail about the cart, the same for a reminder whenever it is sent, but for its date, and for what
// books did to the cart meanwhile.
func (c *composer) compose(r schemas.Reminder, contact cart.Contact, now time.Time) (*mail.Msg, error) {
	to, err := netmail.ParseAddress(contact.Email)
	if err != nil || to.Address != contact.Email {
		return nil, errAddress
	}
	unsubscribe := c.links.UnsubscribeURL(c.public, r.UserID)
	filled := c.fill(contact.Cart, unsubscribe)
	m := mail.NewMsg(mail.WithNoDefaultUserAgent())
	m.FromMailAddress(c.from)
	m.ToMailAddress(to)
	m.Subject(filled.Subject)
	m.SetDateWithValue(now)
	m.SetMessageIDWithValue(c.messageID(r))
	m.SetGenHeader("Auto-Submitted", "auto-generated")                          // RFC 3834: nothing that answers by itself should
	m.SetGenHeaderPreformatted(mail.HeaderListUnsubscribe, "<"+unsubscribe+">") // on one line: not every reader unfolds it
	if c.click {
		m.SetGenHeader(mail.HeaderListUnsubscribePost, "List-Unsubscribe=One-Click")
	}
	var plain, rich strings.Builder
	if err := errors.Join(c.text.Execute(&plain, filled), c.html.Execute(&rich, filled)); err != nil {
		return nil, fmt.Errorf("fill in the mail: %w", err)
	}
	m.SetBodyString(mail.TypeTextPlain, plain.String())
	m.AddAlternativeString(mail.TypeTextHTML, rich.String())
	return m, nil
}

// private reports whether what is sent there stays between the two: by HTTPS, or on one machine.
func private(to string) bool {
	u, err := url.Parse(to)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// messageID is the same whenever a reminder is sent, so that a repeat can be recognised. It hides the user's id.
func (c *composer) messageID(r schemas.Reminder) string {
	sum := sha256.Sum256([]byte(schemas.CartVersionID(r.UserID, r.Epoch, r.Version)))
	return hex.EncodeToString(sum[:16]) + "@" + c.domain
}

func (c *composer) fill(k schemas.Cart, unsubscribe string) content {
	filled := content{
		Subject: "You left a book in your cart", Total: price(k.TotalAmount, k.Currency),
		Cart: c.shop, Unsubscribe: unsubscribe, More: max(0, len(k.Items)-shown),
	}
	if len(k.Items) > 1 {
		filled.Subject = fmt.Sprintf("You left %d books in your cart", len(k.Items))
	}
	for _, l := range k.Items[:min(shown, len(k.Items))] {
		filled.Lines = append(filled.Lines, row{
			Title: plainTitle(l.Title), Quantity: l.Quantity, Gone: l.Availability != schemas.Available,
			UnitPrice: price(l.UnitPrice, k.Currency), LineTotal: price(l.LineTotal, k.Currency),
		})
	}
	return filled
}

// plainTitle keeps a title on its line: no control characters, no separators of lines, nothing that turns the direction
// of what follows, and no more than fits.
func plainTitle(title string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), unicode.In(r, unicode.Zl, unicode.Zp), r == unicode.ReplacementChar:
			return ' '
		case unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, title)
	clean = strings.Join(strings.Fields(clean), " ")
	if runes := []rune(clean); len(runes) > titleMost {
		return strings.TrimSpace(string(runes[:titleMost-1])) + "…"
	}
	return clean
}
