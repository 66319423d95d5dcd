package rest

import (
	"errors"
	"fmt"
	"net/netip"
)

// Settings are what the environment says about the HTTP API.
type Settings struct {
	AllowedOrigins Origins  `env:"ALLOWED_ORIGINS" help:"comma-separated scheme://host[:port] of the browsers' pages that may call, besides those of the same host"`
	RateLimit      int      `env:"RATE_LIMIT" envDefault:"200" help:"requests a second of one user, or of one address without a token, on one instance; twice as many in a burst; 0 for no limit"`
	BodyLimit      int64    `env:"BODY_LIMIT" envDefault:"65536" help:"bytes of the largest request body"`
	TrustedProxies []string `env:"TRUSTED_PROXIES" help:"comma-separated addresses or networks whose X-Forwarded-For is believed"`
}

// Check returns every fault of the settings that their types can't tell.
func (s Settings) Check() error {
	var faults []error
	if s.RateLimit < 0 {
		faults = append(faults, fmt.Errorf("RATE_LIMIT is %d: at least 0", s.RateLimit))
	}
	if s.BodyLimit < 1 {
		faults = append(faults, fmt.Errorf("BODY_LIMIT is %d: at least 1", s.BodyLimit))
	}
	for _, proxy := range s.TrustedProxies {
		if _, err := netip.ParseAddr(proxy); err == nil {
			continue
		}
		if _, err := netip.ParsePrefix(proxy); err != nil {
			faults = append(faults, fmt.Errorf("TRUSTED_PROXIES holds %q: an address, or a network as in 10.0.0.0/8", proxy))
		}
	}
	return errors.Join(faults...)
}
