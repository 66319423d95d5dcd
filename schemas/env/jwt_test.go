package env_test

import (
	"fmt"
	"strings"
	"testing"

	"cartstream/schemas/env"
)

func TestTokensNeedASecretOrKeys(t *testing.T) {
	for claim, tc := range map[string]struct{ secret, url, fault string }{
		"a secret":          {"s3cret", "", ""},
		"keys":              {"", "https://issuer.example/keys", ""},
		"both":              {"s3cret", "http://127.0.0.1:8080/keys", ""},
		"neither":           {"", "", "JWT_SECRET and JWT_JWKS_URL are both unset"},
		"keys of no URL":    {"s3cret", "issuer.example/keys", "JWT_JWKS_URL"},
		"keys in a file":    {"s3cret", "file:///keys", "JWT_JWKS_URL"},
		"keys without host": {"s3cret", "https:///keys", "JWT_JWKS_URL"},
	} {
		t.Run(claim, func(t *testing.T) {
			t.Setenv("JWT_SECRET", tc.secret)
			t.Setenv("JWT_JWKS_URL", tc.url)
			var got env.JWT
			err := env.Parse(&got)
			switch {
			case tc.fault == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.fault != "" && (err == nil || !strings.Contains(err.Error(), tc.fault)):
				t.Errorf("got %v, want a fault about %s", err, tc.fault)
			case err != nil && strings.Contains(err.Error(), "s3cret"):
				t.Errorf("the secret is told: %v", err)
			}
			if shown := fmt.Sprintf("%v %+v %#v", got, got, got); strings.Contains(shown, "s3cret") {
				t.Errorf("the secret is shown: %s", shown)
			}
		})
	}
}

func TestAFaultOfTheKeysAddressHidesItsPassword(t *testing.T) {
	for claim, url := range map[string]string{
		"another scheme": "ftp://me:s3cret@issuer.example/keys",
		"no URL at all":  "https://me:s3cret@issuer.example:port/keys",
	} {
		t.Run(claim, func(t *testing.T) {
			t.Setenv("JWT_JWKS_URL", url)
			err := env.Parse(&env.JWT{})
			if err == nil || !strings.Contains(err.Error(), "JWT_JWKS_URL") || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got %v, want a fault about JWT_JWKS_URL without the password", err)
			}
		})
	}
}
