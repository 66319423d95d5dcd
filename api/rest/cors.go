package rest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"cartstream/schemas/token"
)

// What a browser's page may send and read, besides what every page may. Tokens travel in a header that the page sets, so
// cookies and other credentials are never asked for.
const (
	corsMethods = "GET, HEAD, POST, PUT, PATCH, DELETE"
	corsHeaders = "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, traceparent, tracestate"
	corsExposed = "ETag, Location, Idempotent-Replayed, Retry-After"
	corsMaxAge  = "600" // seconds
)

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

// allow reports whether pages of the origin may read answers. The same host is allowed under any scheme: behind a proxy
// that ends TLS, the server can't tell which one the browser used.
func (o Origins) allow(origin, host string) bool {
	_, at, ok := strings.Cut(origin, "://")
	return ok && at != "" && strings.EqualFold(at, host) ||
		slices.ContainsFunc(o, func(one string) bool { return strings.EqualFold(one, origin) })
}

// varyOrigin is shared by all answers: whoever adds to a header's values copies them.
var varyOrigin = []string{"Origin"}

// cors says in the answer's header whether the page that asks may read it, and reports whether all that is asked is that.
func (s *server) cors(c *gin.Context) (preflight bool) {
	h := c.Writer.Header()
	h["Vary"] = varyOrigin
	origin := c.Request.Header.Get("Origin")
	if origin == "" {
		return false
	}
	preflight = c.Request.Method == http.MethodOptions && c.Request.Header.Get("Access-Control-Request-Method") != ""
	if !s.AllowedOrigins.allow(origin, c.Request.Host) {
		return preflight
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if preflight {
		h.Set("Access-Control-Allow-Methods", corsMethods)
		h.Set("Access-Control-Allow-Headers", corsHeaders)
		h.Set("Access-Control-Max-Age", corsMaxAge)
	} else {
		h.Set("Access-Control-Expose-Headers", corsExposed)
	}
	return preflight
}

// preflight answers a browser that asks before it calls, whatever the path: the call itself says what is there.
func (s *server) preflight(c *gin.Context) {
	s.admit(anyone, func(c *gin.Context, _ token.Claims) error {
		c.Writer.Header().Del("Allow")
		c.Status(http.StatusNoContent)
		c.Writer.WriteHeaderNow()
		return nil
	})(c)
	c.Abort()
}
