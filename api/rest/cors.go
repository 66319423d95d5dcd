package rest

import (
	"net/http"
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

// allowed reports whether pages of the origin may read answers. The same host is allowed under any scheme: behind a proxy
// that ends TLS, the server can't tell which one the browser used.
func allowed(o Origins, origin, host string) bool {
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
	if !allowed(s.AllowedOrigins, origin, c.Request.Host) {
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
