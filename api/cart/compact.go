package cart

import (
	"fmt"
	"strconv"
	"strings"

	"cartstream/schemas"
)

// The compact form is how scripts store and answer carts; lua/mutation.lua describes it. Go alone turns it into JSON, so
// that Redis, which has one thread for everybody, doesn't have to.

// lineSeparator stands before each line of a change. No title holds it: see plain.
const lineSeparator = "\x1e"

// plain returns the title without control characters. The catalogue refuses them, but one that somebody put into MongoDB
// by hand would make an outbox entry that can't be read, and with it a shard that is never relayed again.
func plain(title string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, title)
}

var availabilities = map[string]schemas.Availability{
	"a": schemas.Available, "o": schemas.OutOfStock, "d": schemas.Discontinued,
}

func availabilityCode(a schemas.Availability) string {
	switch a {
	case schemas.OutOfStock:
		return "o"
	case schemas.Discontinued:
		return "d"
	default:
		return "a"
	}
}

// facts returns what a line needs to know about a book.
func facts(b schemas.Book) string {
	return strconv.FormatInt(b.Version, 10) + " " + strconv.FormatInt(b.UnitPrice, 10) + " " + availabilityCode(b.Status) + " " + plain(b.Title)
}

// reader takes space-separated fields off a string and remembers the first that was wrong.
type reader struct {
	rest  string
	err   error
	lines []schemas.Line // room for those of a change
}

func (r *reader) word() string {
	word, rest, _ := strings.Cut(r.rest, " ")
	if word == "" && r.err == nil {
		r.err = fmt.Errorf("compact form: a field is missing before %q", r.rest)
	}
	r.rest = rest
	return word
}

func (r *reader) number() int64 {
	n, err := strconv.ParseInt(r.word(), 10, 64)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("compact form: %w", err)
	}
	return n
}

// line reads a line and its place in the cart.
func (r *reader) line(book string) (l schemas.Line, seq int64) {
	l.BookID = book
	seq = r.number()
	l.Quantity, l.UnitPrice = r.number(), r.number()
	l.Availability = availabilities[r.word()]
	r.number() // the book's version concerns scripts only
	l.PreviousUnitPrice = r.previous()
	l.Title = r.rest
	l.LineTotal = l.UnitPrice * l.Quantity
	return l, seq
}

// previous reads a line's previous price, nil for "-".
func (r *reader) previous() *int64 {
	word := r.word()
	if word == "-" {
		return nil
	}
	p := &reader{rest: word}
	price := p.number()
	if r.err == nil {
		r.err = p.err
	}
	return &price
}

func (r *reader) totals() schemas.Totals {
	return schemas.Totals{TotalAmount: r.number(), TotalQuantity: r.number(), LineCount: r.number()}
}

// change reads a change of the user's cart.
func (r *reader) change(user, currency string) schemas.CartChanged {
	head, lines, more := strings.Cut(r.rest, lineSeparator)
	h := &reader{rest: head}
	c := schemas.CartChanged{
		UserID: user, Epoch: h.number(), Version: h.number(), Type: schemas.EventType(h.word()),
		Whole: h.word() == "1", OccurredAt: schemas.Milliseconds(h.number()), Totals: h.totals(),
		Currency: currency, Items: r.lines[:0],
	}
	if c.Items == nil {
		c.Items = []schemas.Line{}
	}
	r.err = h.err
	for more {
		var one string
		one, lines, more = strings.Cut(lines, lineSeparator)
		l := &reader{rest: one}
		line, _ := l.line(l.word())
		c.Items = append(c.Items, line)
		if r.err == nil {
			r.err = l.err
		}
	}
	return c
}

// The fields of a cart's hash that are no lines.
const (
	headField    = "*"
	ownField     = "="
	addressField = "+"
)

// readCart reads the fields and values of a cart's hash.
func readCart(user, currency string, fields []any) (schemas.Cart, error) {
	r := newCartReader(user, currency, len(fields)/2)
	for i := 0; i+1 < len(fields); i += 2 {
		field, _ := fields[i].(string)
		value, _ := fields[i+1].(string)
		r.take(field, value)
	}
	return r.done()
}

// restored appends to out what restore.lua needs to bring back a cart. What the user did last isn't known any more: the
// cart's last change stands for it. Its lines claim no version of their books, so that any facts are newer.
func restored(out []any, c schemas.Cart, window int64) []any {
	var updated int64
	if c.UpdatedAt != nil {
		updated = c.UpdatedAt.UnixMilli()
	}
	if c.Version == 0 {
		out = append(out, c.UserID, "", 2+2*len(c.Items), headField, compactHead(c, updated, "o"))
	} else {
		out = append(out, c.UserID, updated-updated%window, 4+2*len(c.Items), headField, compactHead(c, updated, "o"),
			ownField, numbers(c.Epoch, c.Version, updated))
	}
	for i, l := range c.Items {
		out = append(out, l.BookID, compactLine(l, i+1))
	}
	return out
}

// compactHead is the head of a cart of which nothing waits in the outbox. own is about the user's own last change.
func compactHead(c schemas.Cart, updated int64, own string) string {
	return numbers(c.Epoch, c.Version, c.TotalAmount, c.TotalQuantity, c.LineCount, int64(len(c.Items)+1), updated) + " - " + own
}

func numbers(all ...int64) string {
	var room [128]byte
	b := room[:0]
	for i, n := range all {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return string(b)
}

// compactLine is a line that claims no version of its book.
func compactLine(l schemas.Line, place int) string {
	previous := "-"
	if l.PreviousUnitPrice != nil {
		previous = strconv.FormatInt(*l.PreviousUnitPrice, 10)
	}
	return numbers(int64(place), l.Quantity, l.UnitPrice) + " " + availabilityCode(l.Availability) + " 0 " + previous + " " + plain(l.Title)
}
