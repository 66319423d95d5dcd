package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ErrMalformed is in the chain of every error of a Decode function: the bytes will never decode, however often they are
// tried.
var ErrMalformed = errors.New("malformed")

// ValidID reports whether s may name a user or a book: 1 to 64 of A-Z a-z 0-9 . _ : @ -
func ValidID(s string) bool {
	if len(s) < 1 || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == ':', c == '@', c == '-':
		default:
			return false
		}
	}
	return true
}

// lineBytes is about what a line takes as JSON.
const lineBytes = 192

// EncodeCartChanged returns the change as JSON. The same change always gives the same bytes.
func EncodeCartChanged(c CartChanged) []byte {
	return appendCartChanged(make([]byte, 0, 256+lineBytes*len(c.Items)), &c)
}

// AppendCartChanged appends the change as JSON, the bytes that EncodeCartChanged returns.
func AppendCartChanged(b []byte, c *CartChanged) []byte { return appendCartChanged(b, c) }

// ChangeBytes returns about how many bytes the change takes as JSON.
func ChangeBytes(c *CartChanged) int { return 256 + lineBytes*len(c.Items) }

// EncodeCart returns the cart as JSON. The same cart always gives the same bytes.
func EncodeCart(c Cart) []byte { return appendCart(make([]byte, 0, 256+lineBytes*len(c.Items)), &c) }

// EncodeBookChanged returns the change as JSON. The same change always gives the same bytes.
func EncodeBookChanged(b BookChanged) []byte { return encode(b) }

// DecodeCartChanged reads a value of cart.events.v1. It ignores fields that it doesn't know and refuses, with
// ErrMalformed, a change that nobody could apply: without user, version, type or with impossible lines.
func DecodeCartChanged(b []byte) (CartChanged, error) {
	var c CartChanged
	if !scanCartChanged(b, &c) {
		c = CartChanged{}
		if err := decode(b, &c); err != nil {
			return CartChanged{}, err
		}
	}
	switch {
	case !ValidID(c.UserID):
		return CartChanged{}, fmt.Errorf("%w: userId %q", ErrMalformed, c.UserID)
	case c.Epoch < 0 || c.Version < 1:
		return CartChanged{}, fmt.Errorf("%w: epoch %d, version %d", ErrMalformed, c.Epoch, c.Version)
	case c.Type == "":
		return CartChanged{}, fmt.Errorf("%w: no type", ErrMalformed)
	}
	if err := checkLines(c.Items); err != nil {
		return CartChanged{}, err
	}
	return c, nil
}

// DecodeCart reads a value of cart.state.v1, under the same rules as DecodeCartChanged.
func DecodeCart(b []byte) (Cart, error) {
	var c Cart
	if !scanCart(b, &c) {
		c = Cart{}
		if err := decode(b, &c); err != nil {
			return Cart{}, err
		}
	}
	if !ValidID(c.UserID) || c.Epoch < 0 || c.Version < 0 {
		return Cart{}, fmt.Errorf("%w: cart of %q at epoch %d, version %d", ErrMalformed, c.UserID, c.Epoch, c.Version)
	}
	if err := checkLines(c.Items); err != nil {
		return Cart{}, err
	}
	return c, nil
}

// DecodeBookChanged reads a value of book.events.v1, under the same rules as DecodeCartChanged.
func DecodeBookChanged(b []byte) (BookChanged, error) {
	var c BookChanged
	if err := decode(b, &c); err != nil {
		return BookChanged{}, err
	}
	if !ValidID(c.BookID) || c.Version < 1 || c.UnitPrice < 0 || c.Type == "" {
		return BookChanged{}, fmt.Errorf("%w: book %q, version %d, type %q", ErrMalformed, c.BookID, c.Version, c.Type)
	}
	return c, nil
}

func checkLines(lines []Line) error {
	for _, l := range lines {
		if !ValidID(l.BookID) || l.Quantity < 0 || l.UnitPrice < 0 {
			return fmt.Errorf("%w: line of %q: quantity %d, unitPrice %d", ErrMalformed, l.BookID, l.Quantity, l.UnitPrice)
		}
	}
	return nil
}

func decode(b []byte, into any) error {
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// encode can't fail: the types hold nothing that JSON lacks.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("schemas: encode %T: %v", v, err))
	}
	return b
}
