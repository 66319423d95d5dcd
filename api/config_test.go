package main

import (
	"strings"
	"testing"
)

func TestLimitsThatNoTotalOrRecordHoldsAreRefused(t *testing.T) {
	for claim, c := range map[string]struct {
		quantity, lines string
		refused         bool
	}{
		"the default":              {"999", "500", false},
		"the most":                 {"9007199", "1", false},
		"one more":                 {"9007200", "1", true},
		"the most lines":           {"999", "1000", false},
		"more lines":               {"999", "1001", true},
		"more than a number holds": {"9223372036854775807", "9223372036854775807", true},
	} {
		t.Run(claim, func(t *testing.T) {
			t.Setenv("JWT_SECRET", strings.Repeat("s", 32))
			t.Setenv("MAX_QUANTITY", c.quantity)
			t.Setenv("MAX_LINES", c.lines)
			_, err := readConfig()
			if refused := err != nil && strings.Contains(err.Error(), "MAX_"); refused != c.refused || !refused && err != nil {
				t.Errorf("%v", err)
			}
		})
	}
}
