package env

import (
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strings"
	"time"
)

// How the connection to the relay is encrypted.
const (
	TLSOffered  = "offered"
	TLSRequired = "required"
	TLSImplicit = "implicit"
	TLSNone     = "none"
)

// Mail says through which relay mails go, and as whose. Nothing is sent where both Addr and From are unset.
type Mail struct {
	Addr     string        `env:"SMTP_ADDR" help:"host:port of the relay that takes mails; reminders stay queued, where unset"`
	From     string        `env:"MAIL_FROM" help:"whom mails are from: an address, or Name <address>; needed with SMTP_ADDR"`
	Username string        `env:"SMTP_USERNAME" help:"user of the relay; none, where unset. A password is sent over TLS only"`
	Password Secret        `env:"SMTP_PASSWORD" help:"password of that user"`
	TLS      string        `env:"SMTP_TLS" envDefault:"offered" help:"offered: STARTTLS where the relay has it; required: STARTTLS or nothing is sent; implicit: TLS from the first byte; none. Certificates are always checked"`
	Timeout  time.Duration `env:"SMTP_TIMEOUT" envDefault:"10s" help:"how long the relay may take to greet, 15s at most, and to take one mail, 25s at most both"`
}

// Wanted reports whether mails are to be sent.
func (m Mail) Wanted() bool { return m.Addr != "" && m.From != "" }

func (m *Mail) check() []error {
	var faults []error
	switch {
	case m.Addr != "" && m.From == "":
		faults = append(faults, errors.New("MAIL_FROM is unset: SMTP_ADDR needs it"))
	case m.Addr == "" && m.From != "":
		faults = append(faults, errors.New("SMTP_ADDR is unset: MAIL_FROM needs it"))
	}
	if m.Addr != "" {
		if err := checkAddress("SMTP_ADDR", m.Addr); err != nil {
			faults = append(faults, err)
		}
	}
	if m.From != "" {
		if _, err := mail.ParseAddress(m.From); err != nil {
			faults = append(faults, fmt.Errorf("MAIL_FROM is %q: an address, or Name <address>", m.From))
		}
	}
	if (m.Username == "") != (m.Password == "") {
		faults = append(faults, errors.New("SMTP_USERNAME and SMTP_PASSWORD need each other"))
	}
	switch m.TLS {
	case TLSOffered, TLSRequired, TLSImplicit:
	case TLSNone:
		if m.Username != "" {
			faults = append(faults, errors.New("SMTP_TLS is none: a password is sent over TLS only"))
		}
	default:
		faults = append(faults, fmt.Errorf("SMTP_TLS is %q: offered, required, implicit or none", m.TLS))
	}
	if m.Timeout <= 0 || m.Timeout > 20*time.Second {
		faults = append(faults, fmt.Errorf("SMTP_TIMEOUT is %s: more than 0s, at most 20s", m.Timeout))
	}
	return faults
}

// DefaultPublicURL is where links point unless somebody says otherwise: good for trying it out.
const DefaultPublicURL = "http://localhost:8080"

// Links says how the links in mails are signed and where they point.
type Links struct {
	Secret    Secret `env:"LINK_SECRET" help:"signs the links in mails; derived from JWT_SECRET, where unset. Another one makes the links of earlier mails useless"`
	PublicURL string `env:"PUBLIC_URL" envDefault:"http://localhost:8080" help:"where the links in mails point: the API as users reach it, as in https://shop.example"`
	ShopURL   string `env:"SHOP_URL" help:"the shop's page of the cart, where mails link to it; they have no such link, where unset"`
}

func (l *Links) check() []error {
	var faults []error
	if u := linked(l.PublicURL); u == nil || u.RawQuery != "" || u.Fragment != "" {
		faults = append(faults, errors.New("PUBLIC_URL can't be linked to: http(s)://host[:port][/path]")) // it may show a password
	}
	if l.ShopURL != "" && linked(l.ShopURL) == nil {
		faults = append(faults, errors.New("SHOP_URL can't be linked to: http(s)://host[:port][/path]"))
	}
	return faults
}

// linked is the address of a web page, nil where that is none.
func linked(to string) *url.URL {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.ContainsAny(to, "<>\"' ") {
		return nil
	}
	return u
}

// CheckLinks reports what mails would need for their links, where there is a relay for them.
func CheckLinks(relay string, l Links, j JWT) error {
	if relay != "" && l.Secret == "" && j.Secret == "" {
		return errors.New("environment: LINK_SECRET is unset: with SMTP_ADDR and without JWT_SECRET there is nothing to sign links with")
	}
	return nil
}
