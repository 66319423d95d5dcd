package cart

import (
	"crypto/sha1" //nolint:gosec // what Redis's scripts have; it guards against damage, not against forgers
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cartstream/schemas"
)

// A cart's content is "<amount> <quantity> <lines> <updated at>", then for each line, in order, "\x1e<book> <quantity> <price>
// <availability> <previous price or -> <title>": all that a cart is but its user, epoch, version and currency. One of up to
// shortContent bytes stands for itself; of a longer one its SHA-1 does.
const shortContent = 512

// sumOf returns what stands for the content.
func sumOf(content []byte) string {
	if len(content) <= shortContent {
		return string(content)
	}
	sum := sha1.Sum(content) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// DigestOf returns the digest of a copy of a cart, from all that it holds.
func DigestOf(c schemas.Cart) Digest {
	if c.Version == 0 {
		return Digest{}
	}
	var updated int64
	if c.UpdatedAt != nil {
		updated = c.UpdatedAt.UnixMilli()
	}
	var room [shortContent]byte
	b := room[:0]
	for _, n := range []int64{c.TotalAmount, c.TotalQuantity, c.LineCount} {
		b = append(strconv.AppendInt(b, n, 10), ' ')
	}
	b = strconv.AppendInt(b, updated, 10)
	for i := range c.Items {
		l := &c.Items[i]
		b = append(append(append(b, lineSeparator...), l.BookID...), ' ')
		b = append(strconv.AppendInt(b, l.Quantity, 10), ' ')
		b = append(strconv.AppendInt(b, l.UnitPrice, 10), ' ')
		b = append(append(b, availabilityCode(l.Availability)...), ' ')
		if l.PreviousUnitPrice != nil {
			b = append(strconv.AppendInt(b, *l.PreviousUnitPrice, 10), ' ')
		} else {
			b = append(b, "- "...)
		}
		b = append(b, plain(l.Title)...)
		if l.LineTotal != l.UnitPrice*l.Quantity {
			b = fmt.Appendf(b, " but %d", l.LineTotal) // what no cart of ours has
		}
	}
	return Digest{c.Epoch, c.Version, sumOf(b)}
}

// storedLine is a line as a cart's hash has it.
type storedLine struct {
	place       int64
	book, value string
}

// readDigest reads what the digest script tells of a cart that is there.
func readDigest(told string) (d Digest, err error) {
	if head, text := told[:1] == lineSeparator, strings.TrimPrefix(told, lineSeparator); head || !strings.Contains(told, lineSeparator) {
		r := &reader{rest: text}
		d = Digest{Epoch: r.number(), Version: r.number(), Sum: r.rest}
		return d, r.err
	}
	var room [4]storedLine
	lines, head, here := room[:0], "", false
	for rest, more := told, true; more; {
		var field, value string
		if field, rest, more = strings.Cut(rest, lineSeparator); !more {
			return Digest{}, fmt.Errorf("compact form: the value of field %q is missing", field)
		}
		value, rest, more = strings.Cut(rest, lineSeparator)
		switch field {
		case headField:
			head, here = value, true
		case ownField, addressField:
		default:
			place, line, _ := strings.Cut(value, " ")
			n, err := strconv.ParseInt(place, 10, 64)
			if err != nil {
				return Digest{}, fmt.Errorf("compact form: %w", err)
			}
			lines = append(lines, storedLine{n, field, line})
		}
	}
	if !here {
		return Digest{}, nil
	}
	slices.SortFunc(lines, func(a, b storedLine) int { return int(a.place - b.place) })
	return digestOfStored(head, lines)
}

// digestOfStored returns the digest of a cart from its head and its lines in order.
func digestOfStored(head string, lines []storedLine) (d Digest, err error) {
	var room [shortContent]byte
	r := &reader{rest: head}
	if d.Epoch, d.Version = r.number(), r.number(); d.Version == 0 && r.err == nil {
		return Digest{}, nil
	}
	b := room[:0]
	for range 3 { // the totals
		b = append(append(b, r.word()...), ' ')
	}
	r.word() // the next line's place
	b = append(b, r.word()...)
	for _, l := range lines {
		b = append(append(append(b, lineSeparator...), l.book...), ' ')
		v := &reader{rest: l.value}
		for range 3 { // quantity, price, availability
			b = append(append(b, v.word()...), ' ')
		}
		v.word() // the book's version concerns scripts only
		b = append(append(b, v.word()...), ' ')
		b = append(b, v.rest...)
		if r.err == nil {
			r.err = v.err
		}
	}
	d.Sum = sumOf(b)
	return d, r.err
}

// Whole returns the cart that a digest stands for, which Digests has told of this user; false where the digest is only a hash.
func (s *Store) Whole(user string, d Digest) (c schemas.Cart, ok bool) {
	head, lines, more := strings.Cut(d.Sum, lineSeparator)
	r := &reader{rest: head}
	c = schemas.Cart{UserID: user, Epoch: d.Epoch, Version: d.Version, Currency: s.Currency, Totals: r.totals(), Items: []schemas.Line{}}
	at := schemas.Milliseconds(r.number())
	c.UpdatedAt = &at
	for more && r.err == nil {
		var one string
		one, lines, more = strings.Cut(lines, lineSeparator)
		l := &reader{rest: one}
		line := schemas.Line{BookID: l.word(), Quantity: l.number(), UnitPrice: l.number(), Availability: availabilities[l.word()]}
		line.PreviousUnitPrice = l.previous()
		line.Title, line.LineTotal = l.rest, line.UnitPrice*line.Quantity
		c.Items, r.err = append(c.Items, line), l.err
	}
	return c, r.err == nil && d.Version > 0
}
