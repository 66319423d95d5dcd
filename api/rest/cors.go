package rest

import (
	"fmt"
	"net/http"
	"net/url"
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

// origins are the allowed ones, besides the request's own host.
type origins map[string]bool

// parseOrigins reads a list of scheme://host[:port].
func parseOrigins(list []string) (origins, error) {
	o := origins{}
	for _, text := range list {
		text = strings.TrimSuffix(strings.TrimSpace(text), "/")
		if text == "" {
			continue
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme == "" || u.Host == "" || text != u.Scheme+"://"+u.Host {
			return nil, fmt.Errorf("ALLOWED_ORIGINS holds %q: scheme://host[:port], as in https://shop.example", text)
		}
		o[strings.ToLower(text)] = true
	}
	return o, nil
}

// allow reports whether pages of the origin may read answers. The same host is allowed under any scheme: behind a proxy
// that ends TLS, the server can't tell which one the browser used.
func (o origins) allow(origin, host string) bool {
	_, at, ok := strings.Cut(origin, "://")
	return ok && at != "" && strings.EqualFold(at, host) || o[strings.ToLower(origin)]
}

// cors says in the answer's header whether the page that asks may read it, and reports whether all that is asked is that.
func (s *server) cors(c *gin.Context) (preflight bool) {
	h := c.Writer.Header()
	h["Vary"] = []string{"Origin"}
	origin := c.Request.Header.Get("Origin")
	if origin == "" {
		return false
	}
	preflight = c.Request.Method == http.MethodOptions && c.Request.Header.Get("Access-Control-Request-Method") != ""
	if !s.origins.allow(origin, c.Request.Host) {
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
