package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"cartstream/schemas"
)

const secret = "a secret of thirty-two characters"

// callFor is how long a client waits for an answer, and then doesn't know what became of its call.
const callFor = 4 * time.Second

var httpClient = &http.Client{
	Timeout:   callFor,
	Transport: &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 30 * time.Second},
}

// call is one request.
type call struct {
	method, path, body, key, match string
}

// answer is what a call came back with.
type answer struct {
	status   int
	replayed bool
	tag      string
	body     []byte
}

// problem is a refusal's body.
type problem struct {
	Type, Applied  string
	Epoch, Version int64
}

func (a answer) problem() problem {
	var p problem
	_ = json.Unmarshal(a.body, &p) // what is no problem has no slug
	p.Type = strings.TrimPrefix(p.Type, "/problems/")
	return p
}

func send(ctx context.Context, addr, bearer string, c call) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, c.method, "http://"+addr+c.path, bytes.NewBufferString(c.body))
	if err != nil {
		return answer{}, err
	}
	for name, value := range map[string]string{"Idempotency-Key": c.key, "If-Match": c.match} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	if c.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("Idempotent-Replayed") == "true", resp.Header.Get("ETag"), body}, err
}

// getCart returns what GET /v1/cart shows.
func getCart(ctx context.Context, addr, bearer string) (schemas.Cart, error) {
	a, err := send(ctx, addr, bearer, call{method: http.MethodGet, path: "/v1/cart"})
	if err != nil {
		return schemas.Cart{}, err
	}
	if a.status != http.StatusOK {
		return schemas.Cart{}, fmt.Errorf("GET /v1/cart: %d %s", a.status, a.body)
	}
	return schemas.DecodeCart(a.body)
}

// sign makes a token.
func sign(user, role string) (string, error) {
	now := time.Now()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": user, "role": role, "iat": now.Unix(), "exp": now.Add(24 * time.Hour).Unix(),
	}).SignedString([]byte(secret))
}
