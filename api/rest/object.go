package rest

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"cartstream/schemas"
)

// object is the JSON object that a body has to be. encoding/json alone would take names in any case, the last of several
// members of one name, and halves of surrogate pairs; here each is a fault.
type object struct {
	faults  *faults
	broken  bool // not an object at all: no field is asked for then
	members []member
}

// member is a known field with its value as it was sent.
type member struct {
	name string
	raw  []byte
}

// parse reads a body as an object with no other members than the known ones, adding what is wrong with it to f. A nil
// body is one that f tells about already.
func parse(body []byte, f *faults, known ...string) object {
	o := object{faults: f, broken: true}
	switch {
	case body == nil:
		return o
	case !utf8.Valid(body):
		f.add("body", "must be UTF-8")
		return o
	case !json.Valid(body):
		f.add("body", "must be one JSON value and nothing else")
		return o
	}
	at := space(body, 0)
	if body[at] != '{' {
		f.add("body", "must be a JSON object")
		return o
	}
	o.broken = false
	for at = space(body, at+1); body[at] != '}'; at = space(body, at) {
		if body[at] == ',' {
			at = space(body, at+1)
		}
		end := skip(body, at)
		name := unquote(body[at:end])
		at = space(body, space(body, end)+1) // behind the colon
		end = skip(body, at)
		o.take(name, body[at:end], known)
		at = end
	}
	return o
}

func (o *object) take(name string, raw []byte, known []string) {
	for _, k := range known {
		if k != name {
			continue
		}
		if o.find(name) != nil {
			o.faults.add(name, "must not be there twice")
			return
		}
		o.members = append(o.members, member{k, raw})
		return
	}
	const longest = 64
	if len(name) > longest {
		name = strings.ToValidUTF8(name[:longest], "") + "…"
	}
	o.faults.add(name, "is not known here")
}

func (o *object) find(name string) []byte {
	for _, m := range o.members {
		if m.name == name {
			return m.raw
		}
	}
	return nil
}

// has reports whether there is such a member, null or not.
func (o *object) has(name string) bool { return o.find(name) != nil }

// null reports whether there is such a member and it is null.
func (o *object) null(name string) bool { return string(o.find(name)) == "null" }

// drop forgets the member.
func (o *object) drop(name string) {
	o.members = slices.DeleteFunc(o.members, func(m member) bool { return m.name == name })
}

// required returns the member's value, nil where it is missing, which is a fault.
func (o *object) required(name string) []byte {
	raw := o.find(name)
	if raw == nil && !o.broken {
		o.faults.add(name, "is missing")
	}
	return raw
}

// text returns a required string, "" where it isn't one.
func (o *object) text(name string) (value string, ok bool) {
	raw := o.required(name)
	switch {
	case raw == nil:
	case raw[0] != '"':
		o.faults.add(name, "must be a string")
	case !paired(raw):
		o.faults.add(name, "must not hold half a surrogate pair")
	default:
		return unquote(raw), true
	}
	return "", false
}

// id returns a required string that may be an id, "" where it isn't one.
func (o *object) id(name string) string {
	value, ok := o.text(name)
	if ok && !schemas.ValidID(value) {
		o.faults.add(name, notAnID)
		return ""
	}
	return value
}

const notAnID = "must have 1 to 64 of the characters A-Z a-z 0-9 . _ : @ -"

// integer returns a required integer, at least least. One that is too large for an int64 is the largest there is: the
// limits, which are lower, then refuse it as they refuse others.
func (o *object) integer(name string, least int64) (value int64, ok bool) {
	raw := o.required(name)
	switch {
	case raw == nil:
		return 0, false
	case raw[0] != '-' && (raw[0] < '0' || raw[0] > '9'):
		o.faults.add(name, "must be an integer")
		return 0, false
	case strings.ContainsAny(string(raw), ".eE"):
		o.faults.add(name, "must be a plain integer, without fraction or exponent")
		return 0, false
	}
	value, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) || raw[0] == '-' || value < least {
		o.faults.add(name, "must be at least "+strconv.FormatInt(least, 10))
		return 0, false
	}
	return value, true
}

// space returns the index of the first byte at or after at that is no white space.
func space(b []byte, at int) int {
	for b[at] == ' ' || b[at] == '\t' || b[at] == '\n' || b[at] == '\r' {
		at++
	}
	return at
}

// skip returns the index behind the value that starts at at, in JSON that is known to be valid.
func skip(b []byte, at int) int {
	depth := 0
	for {
		switch b[at] {
		case '"':
			for at++; b[at] != '"'; at++ {
				if b[at] == '\\' {
					at++
				}
			}
			at++
		case '{', '[':
			depth++
			at++
		case '}', ']':
			depth--
			at++
		case ' ', '\t', '\n', '\r', ',', ':':
			at++
			continue // never the end of a value
		default: // a number, true, false or null
			for ; at < len(b) && !strings.ContainsRune(" \t\n\r,:]}", rune(b[at])); at++ {
			}
		}
		if depth == 0 {
			return at
		}
	}
}

// unquote returns the text of a JSON string that is known to be valid.
func unquote(raw []byte) string {
	inner := raw[1 : len(raw)-1]
	if !strings.Contains(string(inner), `\`) {
		return string(inner)
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return string(inner) // can't be: the body is valid
	}
	return s
}

// paired reports whether each escaped surrogate in a valid JSON string has its other half.
func paired(raw []byte) bool {
	surrogate := func(at int) (high, low bool) {
		if at+6 > len(raw) || raw[at] != '\\' || raw[at+1] != 'u' {
			return false, false
		}
		n, err := strconv.ParseUint(string(raw[at+2:at+6]), 16, 16)
		if err != nil {
			return false, false
		}
		return n>>10 == 0xd800>>10, n>>10 == 0xdc00>>10
	}
	for at := 0; at < len(raw); at++ {
		if raw[at] != '\\' {
			continue
		}
		high, low := surrogate(at)
		if low {
			return false
		}
		if high {
			if _, low := surrogate(at + 6); !low {
				return false
			}
			at += 6
		}
		at++ // whatever is escaped isn't a backslash of its own
	}
	return true
}
