package env

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// API is what the api alone uses, besides HTTP.
type API struct {
	HTTPAddr    string        `env:"HTTP_ADDR" envDefault:":8080" help:"where the API listens"`
	Ack         string        `env:"ACK" envDefault:"redis" help:"when a mutation is answered: once redis has it, or once kafka has its event"`
	KeepAnswers time.Duration `env:"IDEMPOTENCY_TTL" envDefault:"24h" help:"how long a keyed request's answer is kept"`
	MaxQuantity int64         `env:"MAX_QUANTITY" envDefault:"999" help:"most of one line"`
	MaxLines    int64         `env:"MAX_LINES" envDefault:"500" help:"most lines of one cart, at most 1000"`
	DrainFor    time.Duration `env:"DRAIN_FOR" envDefault:"10s" help:"how long requests and sockets may take to end at shutdown"`
	PprofAddr   string        `env:"PPROF_ADDR" help:"where net/http/pprof of the api listens; nowhere, where unset"`
}

// HTTP is what the environment says about the HTTP API.
type HTTP struct {
	AllowedOrigins Origins  `env:"ALLOWED_ORIGINS" help:"comma-separated scheme://host[:port] of the browsers' pages that may call, besides those of the same host"`
	RateLimit      int      `env:"RATE_LIMIT" envDefault:"200" help:"requests a second of one user, or of one address without a token, on one instance; twice as many in a burst; 0 for no limit"`
	BodyLimit      int64    `env:"BODY_LIMIT" envDefault:"65536" help:"bytes of the largest request body"`
	TrustedProxies []string `env:"TRUSTED_PROXIES" help:"comma-separated addresses or networks whose X-Forwarded-For is believed"`
}

// Check returns every fault of the settings that their types can't tell.
func (h HTTP) Check() error { return errors.Join(h.check()...) }

func (h HTTP) check() []error {
	var faults []error
	if h.RateLimit < 0 {
		faults = append(faults, fmt.Errorf("RATE_LIMIT is %d: at least 0", h.RateLimit))
	}
	if h.BodyLimit < 1 {
		faults = append(faults, fmt.Errorf("BODY_LIMIT is %d: at least 1", h.BodyLimit))
	}
	for _, proxy := range h.TrustedProxies {
		if _, err := netip.ParseAddr(proxy); err == nil {
			continue
		}
		if _, err := netip.ParsePrefix(proxy); err != nil {
			faults = append(faults, fmt.Errorf("TRUSTED_PROXIES holds %q: an address, or a network as in 10.0.0.0/8", proxy))
		}
	}
	return faults
}

// Origins are those of the pages that may call, besides the pages of the same host.
type Origins []string

// UnmarshalText reads a comma-separated list of scheme://host[:port].
func (o *Origins) UnmarshalText(list []byte) error {
	*o = nil
	for text := range strings.SplitSeq(string(list), ",") {
		text = strings.TrimSuffix(strings.TrimSpace(text), "/")
		if text == "" {
			continue
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme == "" || u.Host == "" || text != u.Scheme+"://"+u.Host {
			return fmt.Errorf("%q is no scheme://host[:port], as in https://shop.example", text)
		}
		*o = append(*o, text)
	}
	return nil
}
