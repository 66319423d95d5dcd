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

func TestHelpListsWhatIsReadAndWhatConsumersUse(t *testing.T) {
	var out strings.Builder
	if err := help(&out); err != nil {
		t.Fatal(err)
	}
	here, other, _ := strings.Cut(out.String(), "The other binary")
	for name, list := range map[string]string{
		"HTTP_ADDR": here, "ACK": here, "SMTP_ADDR": here, "RATE_LIMIT": here, "OTEL_EXPORTER_OTLP_ENDPOINT": here, "JWT_SECRET": here,
		"OPS_ADDR": other, "MAIL_FROM": other, "SPOOL_DIR": other, "NIGHTLY_AT": other,
	} {
		if strings.Count(out.String(), "\n"+name+" ") != 1 || !strings.Contains(list, "\n"+name+" ") {
			t.Errorf("%s isn't listed once, in its place, in:\n%s", name, out.String())
		}
	}
}

func TestWhatConsumersAloneUseIsNoFaultHere(t *testing.T) {
	t.Setenv("JWT_SECRET", strings.Repeat("s", 32))
	for name, value := range map[string]string{
		"OPS_ADDR": "nowhere", "MAIL_FROM": "nobody", "SMTP_TLS": "maybe", "SPOOL_LIMIT_MIB": "many", "NIGHTLY_AT": "noon", "RECONCILE_EVERY": "0s",
	} {
		t.Setenv(name, value)
	}
	if _, err := readConfig(); err != nil {
		t.Error(err)
	}
}
