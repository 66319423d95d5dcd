package schemas

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// What every change of a cart goes through is written by hand: encoding/json takes several times as long. A test holds the
// bytes against encoding/json's.

func appendCartChanged(b []byte, c *CartChanged) []byte {
	b = appendText(append(b, `{"userId":`...), c.UserID)
	b = strconv.AppendInt(append(b, `,"epoch":`...), c.Epoch, 10)
	b = strconv.AppendInt(append(b, `,"version":`...), c.Version, 10)
	b = appendText(append(b, `,"type":`...), string(c.Type))
	if c.Whole {
		b = append(b, `,"whole":true`...)
	}
	b = appendLines(b, c.Items)
	b = appendTotals(b, c.Totals)
	b = appendText(append(b, `,"currency":`...), c.Currency)
	b = appendTime(append(b, `,"occurredAt":`...), c.OccurredAt)
	return append(b, '}')
}

func appendCart(b []byte, c *Cart) []byte {
	b = appendText(append(b, `{"userId":`...), c.UserID)
	b = strconv.AppendInt(append(b, `,"epoch":`...), c.Epoch, 10)
	b = strconv.AppendInt(append(b, `,"version":`...), c.Version, 10)
	b = appendText(append(b, `,"currency":`...), c.Currency)
	b = appendLines(b, c.Items)
	b = appendTotals(b, c.Totals)
	if c.UpdatedAt != nil {
		b = appendTime(append(b, `,"updatedAt":`...), *c.UpdatedAt)
	}
	return append(b, '}')
}

func appendLines(b []byte, lines []Line) []byte {
	b = append(b, `,"items":`...)
	if lines == nil {
		return append(b, `null`...)
	}
	b = append(b, '[')
	for i := range lines {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendLine(b, &lines[i])
	}
	return append(b, ']')
}

func appendLine(b []byte, l *Line) []byte {
	b = appendText(append(b, `{"bookId":`...), l.BookID)
	b = appendText(append(b, `,"title":`...), l.Title)
	b = strconv.AppendInt(append(b, `,"unitPrice":`...), l.UnitPrice, 10)
	if l.PreviousUnitPrice != nil {
		b = strconv.AppendInt(append(b, `,"previousUnitPrice":`...), *l.PreviousUnitPrice, 10)
	}
	b = strconv.AppendInt(append(b, `,"quantity":`...), l.Quantity, 10)
	b = strconv.AppendInt(append(b, `,"lineTotal":`...), l.LineTotal, 10)
	b = appendText(append(b, `,"availability":`...), string(l.Availability))
	return append(b, '}')
}

func appendTotals(b []byte, t Totals) []byte {
	b = strconv.AppendInt(append(b, `,"totalAmount":`...), t.TotalAmount, 10)
	b = strconv.AppendInt(append(b, `,"totalQuantity":`...), t.TotalQuantity, 10)
	return strconv.AppendInt(append(b, `,"lineCount":`...), t.LineCount, 10)
}

func appendTime(b []byte, t Time) []byte {
	return append(t.append(append(b, '"')), '"')
}

// append appends the text of t. The layout is taken apart here once, not by time.Format each time.
func (t Time) append(b []byte) []byte {
	u := t.UTC()
	year, month, day := u.Date()
	if year < 1000 || year > 9999 {
		return u.AppendFormat(b, timeLayout)
	}
	hour, minute, second := u.Clock()
	b = strconv.AppendInt(b, int64(year), 10)
	b = appendTwo(append(b, '-'), int(month))
	b = appendTwo(append(b, '-'), day)
	b = appendTwo(append(b, 'T'), hour)
	b = appendTwo(append(b, ':'), minute)
	b = appendTwo(append(b, ':'), second)
	thousandths := u.Nanosecond() / int(time.Millisecond)
	b = append(b, '.', byte('0'+thousandths/100))
	return append(appendTwo(b, thousandths%100), 'Z')
}

func appendTwo(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

// asIs are the bytes that stand for themselves in JSON, as encoding/json writes it.
var asIs = func() (t [256]bool) {
	for c := ' '; c <= '~'; c++ {
		t[c] = !strings.ContainsRune(`"\<>&`, c)
	}
	return t
}()

// appendText appends s as JSON. Only plain ASCII, which nearly all texts are, is copied.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if !asIs[s[i]] {
			text, _ := json.Marshal(s) // a string has no error
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
