package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/mail"
	"strings"
	"unicode"

	"github.com/gin-gonic/gin"

	"cartstream/api/cart"
	"cartstream/schemas"
	"cartstream/schemas/token"
)

func (s *server) getCart(c *gin.Context, who token.Claims) error {
	view, err := s.Carts.Get(c.Request.Context(), who.User)
	if err != nil {
		return err
	}
	shown := view.Shown()
	tag := cartTag(shown.Epoch, shown.Version)
	private(c, tag)
	if fresh(c.Request.Header, tag) {
		notModified(c)
		return nil
	}
	if shown.Items == nil {
		shown.Items = []schemas.Line{}
	}
	send(c.Writer, http.StatusOK, plainJSON, schemas.EncodeCart(shown))
	return nil
}

func (s *server) getTotal(c *gin.Context, who token.Claims) error {
	view, err := s.Carts.Get(c.Request.Context(), who.User)
	if err != nil {
		return err
	}
	shown := view.Shown()
	body, err := json.Marshal(struct {
		schemas.Totals
		Currency string `json:"currency"`
		Epoch    int64  `json:"epoch"`
		Version  int64  `json:"version"`
	}{shown.Totals, shown.Currency, shown.Epoch, shown.Version})
	if err != nil {
		return fmt.Errorf("encode totals of %s: %w", who.User, err)
	}
	private(c, "")
	send(c.Writer, http.StatusOK, plainJSON, body)
	return nil
}

func (s *server) addItem(c *gin.Context, who token.Claims) error {
	var f faults
	q := cartRequest(c, who, &f)
	o, err := s.object(c.Request, &f, onlyJSON, "bookId", "quantity")
	if err != nil {
		return err
	}
	bookID, quantity := o.id("bookId"), int64(1)
	if o.has("quantity") {
		quantity, _ = o.integer("quantity", 1)
	}
	if err := f.err(); err != nil {
		return err
	}
	result, err := s.Carts.Add(c.Request.Context(), q, bookID, quantity)
	return changed(c, result, err)
}

func (s *server) setItem(c *gin.Context, who token.Claims) error {
	var f faults
	q := cartRequest(c, who, &f)
	bookID := pathID(c, &f)
	o, err := s.object(c.Request, &f, onlyJSON, "quantity")
	if err != nil {
		return err
	}
	quantity, _ := o.integer("quantity", 0)
	if err := f.err(); err != nil {
		return err
	}
	result, err := s.Carts.Set(c.Request.Context(), q, bookID, quantity)
	return changed(c, result, err)
}

func (s *server) removeItem(c *gin.Context, who token.Claims) error {
	q, bookID, err := s.lineRequest(c, who)
	if err != nil {
		return err
	}
	result, err := s.Carts.Remove(c.Request.Context(), q, bookID)
	return changed(c, result, err)
}

func (s *server) acknowledgeItem(c *gin.Context, who token.Claims) error {
	q, bookID, err := s.lineRequest(c, who)
	if err != nil {
		return err
	}
	result, err := s.Carts.Acknowledge(c.Request.Context(), q, bookID)
	return changed(c, result, err)
}

func (s *server) clearCart(c *gin.Context, who token.Claims) error {
	var f faults
	q := cartRequest(c, who, &f)
	if err := s.noBody(c.Request); err != nil {
		return err
	}
	if err := f.err(); err != nil {
		return err
	}
	result, err := s.Carts.Clear(c.Request.Context(), q)
	return changed(c, result, err)
}

// lineRequest reads a mutation of a line that needs no body.
func (s *server) lineRequest(c *gin.Context, who token.Claims) (cart.Request, string, error) {
	var f faults
	q := cartRequest(c, who, &f)
	bookID := pathID(c, &f)
	if err := s.noBody(c.Request); err != nil {
		return cart.Request{}, "", err
	}
	return q, bookID, f.err()
}

// cartRequest reads what every mutation of a cart has in common.
func cartRequest(c *gin.Context, who token.Claims, f *faults) cart.Request {
	h := c.Request.Header
	return cart.Request{User: who.User, Key: idempotencyKey(h, f), IfMatch: cartMatch(h, f), TraceParent: traceParent(h), Email: address(who.Email)}
}

// address returns the token's mail address, "" for what can't be one: mails to it could only fail.
func address(claim string) string {
	if claim == "" || len(claim) > 254 || strings.ContainsFunc(claim, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return ""
	}
	if a, err := mail.ParseAddress(claim); err != nil || a.Address != claim {
		return ""
	}
	return claim
}

func pathID(c *gin.Context, f *faults) string {
	id := c.Param("bookId")
	if !schemas.ValidID(id) {
		f.add("bookId", notAnID)
	}
	return id
}

// noStore is shared by all answers: whoever adds to a header's values copies them.
var noStore = []string{"no-store"}

// changed answers a mutation. The same result always gives the same bytes.
func changed(c *gin.Context, r cart.Result, err error) error {
	if err != nil {
		return err
	}
	h := c.Writer.Header()
	h["Etag"] = []string{cartTag(r.Change.Epoch, r.Change.Version)}
	h["Cache-Control"] = noStore
	if r.Replayed {
		h["Idempotent-Replayed"] = []string{"true"}
	}
	if r.Change.Items == nil {
		r.Change.Items = []schemas.Line{}
	}
	send(c.Writer, http.StatusOK, plainJSON, schemas.EncodeCartChanged(r.Change))
	return nil
}

// private lets the caller alone keep the answer, and only to ask whether it still holds. Two users' carts can have the
// same tag, so the answer belongs to the token.
func private(c *gin.Context, tag string) {
	h := c.Writer.Header()
	h["Cache-Control"] = []string{"private, no-cache"}
	h["Vary"] = append(h["Vary"], "Authorization")
	if tag != "" {
		h["Etag"] = []string{tag}
	}
}

func notModified(c *gin.Context) {
	c.Status(http.StatusNotModified)
	c.Writer.WriteHeaderNow()
}
