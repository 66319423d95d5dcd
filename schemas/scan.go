package schemas

import (
	"encoding/json"
	"time"
	"unicode/utf8"
)

// scanner reads the JSON that append.go writes, field after field. What is written in any other way, however right it is,
// fails it, and is left to encoding/json, which takes ten times as long. A test holds the two against each other.
type scanner struct {
	rest   []byte
	failed bool
}

// scanCartChanged reports whether the change is written as EncodeCartChanged writes it, and has read it then.
func scanCartChanged(b []byte, c *CartChanged) bool {
	s := scanner{rest: b}
	c.UserID = s.text(`{"userId":`)
	c.Epoch = s.number(`,"epoch":`)
	c.Version = s.number(`,"version":`)
	c.Type = s.eventType(`,"type":`)
	c.Whole = s.has(`,"whole":true`)
	c.Items = s.lines()
	c.Totals = s.totals()
	c.Currency = s.text(`,"currency":`)
	c.OccurredAt = s.time(`,"occurredAt":`)
	return s.ends()
}

// scanCart reports whether the cart is written as EncodeCart writes it, and has read it then.
func scanCart(b []byte, c *Cart) bool {
	s := scanner{rest: b}
	c.UserID = s.text(`{"userId":`)
	c.Epoch = s.number(`,"epoch":`)
	c.Version = s.number(`,"version":`)
	c.Currency = s.text(`,"currency":`)
	c.Items = s.lines()
	c.Totals = s.totals()
	if s.sees(`,"updatedAt":`) {
		at := s.time(`,"updatedAt":`)
		c.UpdatedAt = &at
	}
	return s.ends()
}

func (s *scanner) ends() bool {
	s.expect(`}`)
	return !s.failed && len(s.rest) == 0
}

func (s *scanner) sees(what string) bool {
	return len(s.rest) >= len(what) && string(s.rest[:len(what)]) == what
}

// has skips what may be there.
func (s *scanner) has(what string) bool {
	if !s.sees(what) {
		return false
	}
	s.rest = s.rest[len(what):]
	return true
}

// expect skips what has to be there.
func (s *scanner) expect(what string) {
	if !s.has(what) {
		s.failed = true
	}
}

// number reads an integer of at most 18 digits.
func (s *scanner) number(name string) (n int64) {
	s.expect(name)
	negative := s.has(`-`)
	digits := 0
	for digits < len(s.rest) && '0' <= s.rest[digits] && s.rest[digits] <= '9' {
		if digits < 18 {
			n = 10*n + int64(s.rest[digits]-'0')
		}
		digits++
	}
	if digits == 0 || digits > 18 || s.rest[0] == '0' && (digits > 1 || negative) {
		s.failed = true
		return 0
	}
	s.rest = s.rest[digits:]
	if negative {
		return -n
	}
	return n
}

// raw reads a text as it stands between its quotes.
func (s *scanner) raw(name string) []byte {
	s.expect(name)
	s.expect(`"`)
	for i := 0; i < len(s.rest); i++ {
		switch s.rest[i] {
		case '"':
			text := s.rest[:i]
			s.rest = s.rest[i+1:]
			return text
		case '\\':
			i++ // what it stands before is no end
		}
	}
	s.failed = true
	return nil
}

func (s *scanner) text(name string) string {
	raw := s.raw(name)
	ascii := true
	for _, c := range raw {
		switch {
		case c == '\\' || c < ' ':
			return s.escaped(raw)
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	s.failed = s.failed || !ascii && !utf8.Valid(raw)
	return string(raw)
}

// escaped is text that isn't as it stands, as of a title with an ampersand.
func (s *scanner) escaped(raw []byte) (text string) {
	quoted := make([]byte, 0, len(raw)+2)
	quoted = append(append(append(quoted, '"'), raw...), '"')
	if json.Unmarshal(quoted, &text) != nil {
		s.failed = true
	}
	return text
}

// eventType knows the types that are emitted.
func (s *scanner) eventType(name string) EventType {
	raw := s.raw(name)
	for _, known := range [...]EventType{ItemAdded, ItemSet, ItemRemoved, BookChangedInCart, ItemAcknowledged, Cleared, Restored} {
		if string(raw) == string(known) {
			return known
		}
	}
	s.failed = true
	return ""
}

func (s *scanner) availability(name string) Availability {
	raw := s.raw(name)
	for _, known := range [...]Availability{Available, OutOfStock, Discontinued} {
		if string(raw) == string(known) {
			return known
		}
	}
	s.failed = true
	return ""
}

func (s *scanner) lines() []Line {
	if s.has(`,"items":null`) {
		return nil
	}
	s.expect(`,"items":[`)
	lines := []Line{}
	for before := `{"bookId":`; !s.failed && !s.has(`]`); before = `,{"bookId":` {
		l := Line{BookID: s.text(before), Title: s.text(`,"title":`), UnitPrice: s.number(`,"unitPrice":`)}
		if s.sees(`,"previousUnitPrice":`) {
			previous := s.number(`,"previousUnitPrice":`)
			l.PreviousUnitPrice = &previous
		}
		l.Quantity = s.number(`,"quantity":`)
		l.LineTotal = s.number(`,"lineTotal":`)
		l.Availability = s.availability(`,"availability":`)
		s.expect(`}`)
		lines = append(lines, l)
	}
	return lines
}

func (s *scanner) totals() Totals {
	return Totals{s.number(`,"totalAmount":`), s.number(`,"totalQuantity":`), s.number(`,"lineCount":`)}
}

// time reads a time of timeLayout.
func (s *scanner) time(name string) Time {
	raw := s.raw(name)
	if len(raw) != len(timeLayout) || raw[4] != '-' || raw[7] != '-' || raw[10] != 'T' || raw[13] != ':' || raw[16] != ':' || raw[19] != '.' || raw[23] != 'Z' {
		s.failed = true
		return Time{}
	}
	part := func(from, to, least, most int) (n int) {
		for _, c := range raw[from:to] {
			if c < '0' || c > '9' {
				s.failed = true
			}
			n = 10*n + int(c-'0')
		}
		s.failed = s.failed || n < least || n > most
		return n
	}
	year, month, day := part(0, 4, 0, 9999), part(5, 7, 1, 12), part(8, 10, 1, 31)
	hour, minute, second := part(11, 13, 0, 23), part(14, 16, 0, 59), part(17, 19, 0, 59)
	at := time.Date(year, time.Month(month), day, hour, minute, second, part(20, 23, 0, 999)*int(time.Millisecond), time.UTC)
	s.failed = s.failed || at.Day() != day // the month has fewer
	return Time{at}
}
