package rest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"cartstream/schemas/link"
	"cartstream/schemas/token"
)

// Links checks the signed links in mails. A link.Signer does.
type Links interface {
	// User returns whose reminders the token ends; the error has link.ErrInvalid in its chain.
	User(token string) (string, error)
}

// OptOuts is who wants no reminders. An optout.Store is one.
type OptOuts interface {
	// Add notes that the user wants none, from at on; again, it changes nothing. The error has schemas.ErrUnavailable in
	// its chain.
	Add(ctx context.Context, user string, at time.Time) error
}

//go:embed pages
var pages embed.FS

var (
	unsubscribePage = template.Must(template.ParseFS(pages, "pages/unsubscribe.html"))
	pageStyle       = string(must(pages.ReadFile("pages/page.css")))
	// pagePolicy lets a page do nothing but look as it does and send its own form.
	pagePolicy = "default-src 'none'; style-src 'sha256-" + hashed(pageStyle) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err) // it is part of the binary
	}
	return b
}

func hashed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// page is what somebody who followed a mail's link sees. Without a Button there is nothing left to do.
type page struct{ Title, Text, Button string }

var (
	pageAsks = page{"Cart reminders", "Do you want no more mails about books that you left in your cart?", "Stop the reminders"}
	pageDone = page{Title: "Reminders stopped", Text: "You get no more mails about books that you left in your cart."}
	pageBad  = page{Title: "This link doesn't work", Text: "It isn't complete, or isn't from a mail of ours. Copy the whole link from the mail, or use its Unsubscribe button."}
	pageWait = page{Title: "Not now", Text: "Your wish couldn't be kept just now. Please try again in a minute.", Button: "Try again"}
)

// askUnsubscribe shows the page with a button. It changes nothing: mail programs and scanners follow links by themselves.
func (s *server) askUnsubscribe(c *gin.Context, _ token.Claims) error {
	if _, err := s.linkUser(c); err != nil {
		return s.orPage(c, err)
	}
	show(c.Writer, http.StatusOK, pageAsks)
	return nil
}

// unsubscribe ends the user's reminders, for the page's button and for mail programs that know RFC 8058. What the body
// says doesn't matter: the token says it all.
func (s *server) unsubscribe(c *gin.Context, _ token.Claims) error {
	user, err := s.linkUser(c)
	if err == nil {
		err = s.noBody(c.Request)
	}
	if err == nil {
		err = s.OptOuts.Add(c.Request.Context(), user, time.Now())
	}
	if err != nil {
		return s.orPage(c, err)
	}
	s.Log.InfoContext(c.Request.Context(), "reminders stopped", "user", user)
	show(c.Writer, http.StatusOK, pageDone)
	return nil
}

// linkUser returns whose link it is. Where nothing signs links, none is valid.
func (s *server) linkUser(c *gin.Context) (string, error) {
	tokens := c.QueryArray("token")
	if len(tokens) != 1 || s.Links == nil {
		return "", fmt.Errorf("%w: not one token", link.ErrInvalid)
	}
	return s.Links.User(tokens[0])
}

// orPage answers somebody who reads HTML with a page in place of the problem, where there is one, and returns nil then.
func (s *server) orPage(c *gin.Context, err error) error {
	if !strings.Contains(c.Request.Header.Get("Accept"), "text/html") {
		return err
	}
	shown := pageBad
	switch p := find(err); {
	case errors.Is(err, link.ErrInvalid):
	case p.slug == unavailable.slug:
		shown = pageWait
		c.Writer.Header().Set("Retry-After", "1")
	default:
		return err
	}
	show(c.Writer, s.refusals.note(c.Request, "", err).status, shown)
	return nil
}

func show(w http.ResponseWriter, status int, p page) {
	var b bytes.Buffer
	err := unsubscribePage.Execute(&b, struct {
		page
		Style template.CSS
	}{p, template.CSS(pageStyle)}) //nolint:gosec // it is part of the binary
	if err != nil {
		panic(fmt.Sprintf("rest: write a page: %v", err)) // it has all that it shows
	}
	h := w.Header()
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer") // the address holds the token
	h.Set("X-Robots-Tag", "noindex")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	send(w, status, "text/html; charset=utf-8", b.Bytes())
}
