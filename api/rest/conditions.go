package rest

import (
	"net/http"
	"strconv"
	"strings"

	"cartstream/api/book"
	"cartstream/api/cart"
)

// cartTag is the entity tag of a cart's state, bookTag that of a book's version.
func cartTag(epoch, version int64) string {
	return `"` + strconv.FormatInt(epoch, 10) + "." + strconv.FormatInt(version, 10) + `"`
}

func bookTag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// tags is a header's list of entity tags.
type tags struct {
	any  bool
	list []tag
}

type tag struct {
	opaque string
	weak   bool
}

// parseTags reads a list of entity tags as RFC 9110 has it, which may be spread over several header lines. It isn't ok
// where there is something else, or nothing.
func parseTags(lines []string) (t tags, ok bool) {
	rest := strings.Trim(strings.Join(lines, ","), " \t")
	if rest == "*" {
		return tags{any: true}, true
	}
	for {
		rest = strings.TrimLeft(rest, " \t,")
		if rest == "" {
			return t, len(t.list) > 0
		}
		var one tag
		rest, one.weak = strings.CutPrefix(rest, "W/")
		if !strings.HasPrefix(rest, `"`) {
			return t, false
		}
		if one.opaque, rest, ok = strings.Cut(rest[1:], `"`); !ok || strings.ContainsFunc(one.opaque, notInTag) {
			return t, false
		}
		t.list = append(t.list, one)
		if rest = strings.TrimLeft(rest, " \t"); rest != "" && rest[0] != ',' {
			return t, false
		}
	}
}

func notInTag(r rune) bool { return r <= ' ' || r == 0x7f }

// ifMatch returns the condition's tags that can match at all: strong ones, and any. set says that there is a condition.
func ifMatch(h http.Header, f *faults) (t tags, set bool) {
	lines, set := h["If-Match"]
	if !set {
		return t, false
	}
	all, ok := parseTags(lines)
	if !ok {
		f.add("If-Match", `must be * or a list of entity tags, as in "1.7"`)
		return t, true
	}
	t.any = all.any
	for _, one := range all.list {
		if !one.weak {
			t.list = append(t.list, one)
		}
	}
	return t, true
}

// cartMatch is the condition on a cart. A tag that is no cart's matches none.
func cartMatch(h http.Header, f *faults) cart.IfMatch {
	t, set := ifMatch(h, f)
	m := cart.IfMatch{Set: set, Any: t.any}
	for _, one := range t.list {
		e, v, _ := strings.Cut(one.opaque, ".")
		epoch, ok := natural(e)
		version, ok2 := natural(v)
		if ok && ok2 {
			m.Tags = append(m.Tags, cart.Tag{Epoch: epoch, Version: version})
		}
	}
	return m
}

// bookMatch is the condition on a book. A tag that is no book's matches none.
func bookMatch(h http.Header, f *faults) book.IfMatch {
	t, set := ifMatch(h, f)
	m := book.IfMatch{Set: set, Any: t.any}
	for _, one := range t.list {
		if version, ok := natural(one.opaque); ok {
			m.Versions = append(m.Versions, version)
		}
	}
	return m
}

// natural reads a number in the one way in which tags are written.
func natural(s string) (n int64, ok bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && strconv.FormatInt(n, 10) == s
}

// fresh reports whether If-None-Match names the current tag, so that the client needs no body. Weak tags match too; what
// is no list of entity tags asks for nothing.
func fresh(h http.Header, current string) bool {
	lines, set := h["If-None-Match"]
	if !set {
		return false
	}
	t, ok := parseTags(lines)
	if !ok {
		return false
	}
	for _, one := range t.list {
		if `"`+one.opaque+`"` == current {
			return true
		}
	}
	return t.any
}

// idempotencyKey returns the request's key, "" for none.
func idempotencyKey(h http.Header, f *faults) string {
	lines, set := h["Idempotency-Key"]
	if !set {
		return ""
	}
	if len(lines) != 1 || lines[0] == "" || len(lines[0]) > 255 || strings.ContainsFunc(lines[0], notVisible) {
		f.add("Idempotency-Key", "must be one line of 1 to 255 visible ASCII characters")
		return ""
	}
	return lines[0]
}

func notVisible(r rune) bool { return r <= ' ' || r > '~' }

// traceParent returns the W3C trace context that the request belongs to, "" where it names none, or not one. Of a later
// version of the format, what this one knows is kept.
func traceParent(h http.Header) string {
	const length = len("00-00000000000000000000000000000000-0000000000000000-00")
	lines := h["Traceparent"]
	if len(lines) != 1 || len(lines[0]) < length {
		return ""
	}
	t := lines[0]
	version, traceID, parentID, flags := t[:2], t[3:35], t[36:52], t[53:length]
	switch {
	case t[2] != '-' || t[35] != '-' || t[52] != '-',
		!isHex(version) || !isHex(traceID) || !isHex(parentID) || !isHex(flags),
		version == "ff", strings.Trim(traceID, "0") == "", strings.Trim(parentID, "0") == "",
		len(t) > length && (version == "00" || t[length] != '-'):
		return ""
	}
	return "00" + t[2:length]
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
