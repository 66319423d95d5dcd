package rest

import (
	"bytes"
	"encoding/json"
	"strconv"
	"testing"
	"unicode/utf8"
)

// FuzzParse holds the strict reading of objects against encoding/json: both take the same for an object, what is taken
// means the same, and of known members only a repeated one is refused.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `{"a":1}`, `{"a":1,"b":"x"}`, `{"a":1,"a":2}`, `{"A":1}`, `{"\u0061":1}`, ` { "a" : [1,{"b":"}"}] , "b" : "\"\\" } `, `{"a":"\ud83d\udcd6"}`,
		`{"a":"\ud83d"}`, `{"a":1}x`, `[1]`, `null`, `{"a":nul}`, `{"a":-0}`, `{"b":{"a":{"b":[[],{}]}},"a":true}`, "{\"a\":\"\xff\"}", `{"a":"","b":1e9}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var told faults
		o := parse(body, &told, "a", "b")
		var want map[string]json.RawMessage
		valid := json.Unmarshal(body, &want) == nil && want != nil && utf8.Valid(body)
		if o.broken == valid || o.broken && len(told) != 1 {
			t.Fatalf("%q is an object: %v, but broken: %v, %q", body, valid, o.broken, told)
		}
		for name := range want {
			if name != "a" && name != "b" && len(told) == 0 {
				t.Fatalf("%q: %q was taken", body, name)
			}
		}
		for _, fault := range told {
			if fault.Field == "a" || fault.Field == "b" {
				if fault.Message != "must not be there twice" {
					t.Errorf("%q is refused: %+v", body, fault)
				}
			}
		}
		if len(told) > 0 {
			return
		}
		if len(o.members) != len(want) {
			t.Fatalf("%q has the members %q, want %q", body, o.members, want)
		}
		for _, m := range o.members {
			if !bytes.Equal(m.raw, want[m.name]) {
				t.Errorf("%q: %s is %q, want %q", body, m.name, m.raw, want[m.name])
			}
			if m.raw[0] == '"' {
				reads(t, o, m)
			}
		}
	})
}

// reads holds a string against encoding/json, which puts U+FFFD in the place of half a pair.
func reads(t *testing.T, o object, m member) {
	var want string
	if err := json.Unmarshal(m.raw, &want); err != nil {
		t.Fatal(err)
	}
	got, ok := o.text(m.name)
	if ok && got != want {
		t.Errorf("%q reads as %q, want %q", m.raw, got, want)
	}
	if halves := bytes.Count([]byte(want), []byte("\uFFFD")) > bytes.Count(m.raw, []byte("\uFFFD"))+bytes.Count(bytes.ToLower(m.raw), []byte(`\ufffd`)); halves && ok {
		t.Errorf("%q was taken though it has half a pair", m.raw)
	}
}

func TestCallersDoNotGrowTheMemoryForEver(t *testing.T) {
	t.Parallel()
	l := newLimits(1)
	for i := range callers + 1000 {
		if !l.allow(strconv.Itoa(i), nil) {
			t.Fatalf("the first call of user %d was refused", i)
		}
	}
	if n := l.buckets.Len(); n > callers {
		t.Errorf("%d buckets, want %d at most", n, callers)
	}
}
