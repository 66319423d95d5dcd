package outside

import (
	"strings"
	"testing"
)

func TestADeviceKeepsTheFirstThingThatTheContractRulesOut(t *testing.T) {
	const (
		snapshot = `{"type":"snapshot","cart":{"userId":"u","epoch":1,"version":3,"currency":"EUR","items":[],"totalAmount":0,"totalQuantity":0,"lineCount":0}}`
		next     = `{"type":"change","change":{"userId":"u","epoch":1,"version":4,"type":"cleared","whole":true,"items":[],"totalAmount":0,"totalQuantity":0,"lineCount":0,"currency":"EUR","occurredAt":"2026-11-22T10:00:00.000Z"}}`
		current  = `{"type":"current","epoch":1,"version":3}`
	)
	for claim, c := range map[string]struct {
		frames []string
		want   string // in the fault; "" for none
	}{
		"a change follows a snapshot":          {[]string{snapshot, next}, ""},
		"a change may not come first":          {[]string{next}, "unexpected"},
		"nor twice":                            {[]string{snapshot, next, next}, "can't be applied"},
		"a version may not be left out":        {[]string{snapshot, strings.Replace(next, `"version":4,"type":"cleared","whole":true`, `"version":5,"type":"item_removed"`, 1)}, "can't be applied"},
		"a snapshot may not go back":           {[]string{snapshot, next, snapshot}, "after"},
		"current needs something that is":      {[]string{current}, "unexpected"},
		"what is no frame of the contract":     {[]string{snapshot, `{"type":"hello"}`}, "unexpected"},
		"what is no JSON isn't a frame at all": {[]string{`{`}, "frame {"},
	} {
		t.Run(claim, func(t *testing.T) {
			d := &Device{User: "u"}
			for i, frame := range c.frames {
				if err := d.take([]byte(frame), i == 0); err != nil {
					d.wrong(err)
				}
			}
			if err := d.Fault(); c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
