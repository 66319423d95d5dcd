package rest_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"

	"cartstream/api/cart"
	"cartstream/api/rest"
	"cartstream/schemas"
	"cartstream/schemas/env"
	"cartstream/schemas/token"
)

// nowhere takes an answer and forgets it.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n *nowhere) WriteHeader(int)             {}

// BenchmarkAddItem is what an add costs besides the network and the store; bare is a Gin handler that answers the same.
func BenchmarkAddItem(b *testing.B) {
	log := slog.New(slog.DiscardHandler)
	tokens, err := token.New(env.JWT{Secret: secret}, log)
	if err != nil {
		b.Fatal(err)
	}
	defer tokens.Close()
	registry := prometheus.NewRegistry()
	handler, err := rest.New(rest.Config{
		Settings: rest.Settings{BodyLimit: 64 << 10, RateLimit: 1 << 30}, Carts: fixed{}, Books: &books{}, Tokens: tokens, Live: http.NotFoundHandler(),
		Registerer: registry, Gatherer: registry, Log: log,
	})
	if err != nil {
		b.Fatal(err)
	}
	bare := gin.New()
	answer := schemas.EncodeCartChanged(change)
	bare.POST("/v1/cart/items", func(c *gin.Context) {
		_, _ = io.ReadAll(c.Request.Body)
		c.Data(http.StatusOK, "application/json", answer)
	})
	const body = `{"bookId":"b1","quantity":2}`
	bearer := mint(b, jwt.MapClaims{"sub": "u1"})
	for name, h := range map[string]http.Handler{"api": handler, "bare": bare} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(&nowhere{http.Header{}}, &http.Request{
					Method: http.MethodPost, URL: &url.URL{Path: "/v1/cart/items"}, Host: "x", RemoteAddr: "127.0.0.1:1",
					Header:        http.Header{"Authorization": {"Bearer " + bearer}, "Content-Type": {"application/json"}},
					ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
				})
			}
		})
	}
}

// fixed is a store that remembers nothing.
type fixed struct{ *carts }

func (fixed) Add(context.Context, cart.Request, string, int64) (cart.Result, error) {
	return cart.Result{Change: change}, nil
}
