package replay

import (
	"errors"
	"slices"
	"testing"
	"time"
)

const (
	plain = `1795366800.1 [0 127.0.0.1:4] "EVALSHA" "abc" "5" "{7}:g" "{7}:c:u1" "{7}:o" "{7}:f:b0" "{7}:u:b0" ` +
		`"u1" "00-t-s-00 - -" "1795366800000" "" "" "86400000" "" "3600000" "b0" "1" "999" "500" "1 1299 a The \"Pickwick\" Papers\x1e"`
	keyed = `1795366800.2 [0 127.0.0.1:4] "evalsha" "abc" "6" "{7}:g" "{7}:c:u1" "{7}:o" "{7}:f:b0" "{7}:u:b0" "{7}:k:kkk" ` +
		`"u1" "00-t-s-00 kkk rrr" "1795366800000" "" "rrr" "86400000" "" "3600000" "b0" "1" "999" "500" ""`
)

func recorded(t *testing.T) *Adds {
	t.Helper()
	a := &Adds{Book: "b0", Plain: map[string]Call{}, Keyed: map[string]Call{}}
	for _, line := range []string{plain, keyed} {
		if took, err := a.Take(line); err != nil || !took {
			t.Fatalf("%v, %v: %s", took, err, line)
		}
	}
	return a
}

func TestARecordedAddIsFilledInWithAnotherBookKeyAndTime(t *testing.T) {
	a := recorded(t)
	for claim, c := range map[string]struct {
		key        string
		keys, args []string // but for the time
	}{
		"without a key": {"",
			[]string{"{7}:g", "{7}:c:u1", "{7}:o", "{7}:f:b9", "{7}:u:b9"},
			[]string{"u1", "00-t-s-00 - -", "", "", "", "86400000", "", "3600000", "b9", "3", "999", "500", "1 1299 a The \"Pickwick\" Papers\x1e"}},
		"with a key": {"new",
			[]string{"{7}:g", "{7}:c:u1", "{7}:o", "{7}:f:b9", "{7}:u:b9", "{7}:k:new"},
			[]string{"u1", "00-t-s-00 new rrr", "", "", "rrr", "86400000", "", "3600000", "b9", "3", "999", "500", ""}},
	} {
		t.Run(claim, func(t *testing.T) {
			got, err := a.Add("u1", "b9", "3", c.key)
			if err != nil {
				t.Fatal(err)
			}
			if got.Args[argNow] == "1795366800000" {
				t.Error("the time is still that of the recording")
			}
			got.Args[argNow] = ""
			if got.SHA != "abc" || !slices.Equal(got.Keys, c.keys) || !slices.Equal(got.Args, c.args) {
				t.Errorf("got %q", got)
			}
		})
	}
	if has, none := a.Cart("u1"), a.Cart("u2"); has != "{7}:c:u1" || none != "" {
		t.Errorf("carts: %q and %q", has, none)
	}
	if got := a.Plain["u1"].Keys[keyFacts]; got != "{7}:f:b0" {
		t.Errorf("the recorded call has changed: %s", got)
	}
}

func TestARecordedAddIsAnotherUsersOfTheSameShard(t *testing.T) {
	a := recorded(t)
	got, err := a.As("u2", "u1", "b9", time.UnixMilli(77))
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{"{7}:g", "{7}:c:u2", "{7}:o", "{7}:f:b9", "{7}:u:b9"}
	if !slices.Equal(got.Keys, keys) || got.Args[0] != "u2" || got.Args[argNow] != "77" || got.Args[argLimit] != "1000000000" {
		t.Errorf("got %q", got)
	}
	if got := a.Outbox("u1"); got != "{7}:o" {
		t.Errorf("outbox %q", got)
	}
	if _, err := a.As("u2", "u3", "b9", time.UnixMilli(77)); err == nil || a.Outbox("u3") != "" {
		t.Errorf("of a user without a recorded call: %v", err)
	}
}

func TestWhatIsNoAddOfTheBookIsLeftOut(t *testing.T) {
	for claim, line := range map[string]string{
		"another command":        `1795366800.1 [0 127.0.0.1:4] "PING"`,
		"what a script does":     `1795366800.1 [0 lua] "EVALSHA" "abc" "0"`,
		"a heartbeat":            `1795366800.1 [0 127.0.0.1:4] "EVALSHA" "abc" "1" "{7}:g" "instance" "take" "3000"`,
		"MONITOR's own greeting": `+OK`,
	} {
		t.Run(claim, func(t *testing.T) {
			a := &Adds{Book: "b0", Plain: map[string]Call{}, Keyed: map[string]Call{}}
			if took, err := a.Take(line); took || err != nil {
				t.Errorf("%v, %v", took, err)
			}
		})
	}
}

func TestACallThatIsBuiltOtherwiseIsAnError(t *testing.T) {
	a := &Adds{Book: "b0", Plain: map[string]Call{}, Keyed: map[string]Call{}}
	for claim, line := range map[string]string{
		"more arguments": plain + ` "more"`,
		"fewer keys":     `1 [0 127.0.0.1:4] "EVALSHA" "abc" "1" "{7}:g" "u1" "t - -" "1" "" "" "1" "" "1" "b0" "1" "999" "500" ""`,
	} {
		t.Run(claim, func(t *testing.T) {
			if _, err := a.Take(line); !errors.Is(err, ErrUnlike) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := a.Take(`1 [0 127.0.0.1:4] "EVALSHA" "unfinished`); err == nil {
		t.Error("a line that can't be read is none")
	}
}

func TestAUserWhoWasNotRecordedIsAnError(t *testing.T) {
	if _, err := recorded(t).Add("nobody", "b9", "1", ""); err == nil {
		t.Error("there is a call of nobody")
	}
}
