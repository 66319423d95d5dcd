package env

import (
	"errors"
	"fmt"
	"net/url"
)

// JWT says whose tokens are believed.
type JWT struct {
	Secret   Secret `env:"JWT_SECRET" help:"the secret of HS256 tokens; this or JWT_JWKS_URL is needed"`
	JWKSURL  string `env:"JWT_JWKS_URL" help:"where the issuer publishes its keys; this or JWT_SECRET is needed"`
	Issuer   string `env:"JWT_ISSUER" help:"the iss that every token must have; any, where unset"`
	Audience string `env:"JWT_AUDIENCE" help:"an aud that every token must have; any, where unset"`
}

func (j *JWT) check() []error {
	if j.Secret == "" && j.JWKSURL == "" {
		return []error{errors.New("JWT_SECRET and JWT_JWKS_URL are both unset: one of them is needed to check tokens")}
	}
	if j.JWKSURL == "" {
		return nil
	}
	u, err := url.Parse(j.JWKSURL)
	switch {
	case err != nil:
		return []error{errors.New("JWT_JWKS_URL can't be read: an http or https URL")} // the cause shows the password
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return []error{fmt.Errorf("JWT_JWKS_URL is %q: an http or https URL", u.Redacted())}
	}
	return nil
}
