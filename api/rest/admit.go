package rest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"cartstream/api/cart"
	"cartstream/schemas"
	"cartstream/schemas/token"
)

// access is who may make a call.
type access int

const (
	anyone access = iota
	customer
	admin
)

// handler answers a call, or returns why it doesn't; then it has written nothing. The claims are empty where anyone may
// call and nobody said who they are.
type handler func(c *gin.Context, who token.Claims) error

// admit lets through to the handler whoever may make the call and hasn't made too many.
func (s *server) admit(need access, h handler) gin.HandlerFunc {
	return func(c *gin.Context) {
		who, err := s.caller(c, need)
		if err == nil {
			err = h(c, who)
		}
		if err != nil {
			s.refusals.refuse(c.Writer, c.Request, who.User, err)
		}
	}
}

// caller finds out who calls. A call without a valid token counts for its address, also one that is then refused.
func (s *server) caller(c *gin.Context, need access) (token.Claims, error) {
	var who token.Claims
	err := errNoToken
	if raw := bearer(c); raw != "" {
		who, err = s.Tokens.Verify(c.Request.Context(), raw)
	}
	if !s.limits.allow(who.User, c) {
		return who, errRateLimited
	}
	switch {
	case need == anyone:
		return who, nil
	case errors.Is(err, schemas.ErrUnavailable):
		// Whoever can't be known has changed nothing.
		return who, &cart.Unavailable{Applied: cart.NotApplied, RetryAfter: time.Second, Err: err}
	case err != nil:
		return who, err
	case need == admin && !who.Admin:
		return who, fmt.Errorf("%s %s: %w", c.Request.Method, c.FullPath(), errForbidden)
	}
	return who, nil
}

// bearer returns the call's token, "" for none. Browsers can't set the header of a WebSocket, so they offer the token as a
// subprotocol.
func bearer(c *gin.Context) string {
	raw := token.Bearer(c.Request.Header)
	if raw != "" || c.FullPath() != livePath {
		return raw
	}
	for _, line := range c.Request.Header["Sec-Websocket-Protocol"] {
		for offered := range strings.SplitSeq(line, ",") {
			if raw, ok := strings.CutPrefix(strings.TrimSpace(offered), "bearer."); ok {
				return raw
			}
		}
	}
	return ""
}
