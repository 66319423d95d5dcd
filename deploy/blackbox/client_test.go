package blackbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"cartstream/schemas"
)

var httpClient = &http.Client{
	Timeout:   15 * time.Second,
	Transport: &http.Transport{MaxIdleConnsPerHost: 128},
}

// answer is what a call came back with.
type answer struct {
	status   int
	replayed bool
	body     []byte
}

func (a answer) problem() (slug, applied string) {
	var p struct{ Type, Applied string }
	_ = json.Unmarshal(a.body, &p)
	return strings.TrimPrefix(p.Type, "/problems/"), p.Applied
}

// call is one request of a user's.
type call struct {
	method, path, body, key string
}

func send(ctx context.Context, addr, bearer string, c call) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, c.method, "http://"+addr+c.path, bytes.NewBufferString(c.body))
	if err != nil {
		return answer{}, err
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	if c.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		req.Header.Set("Idempotency-Key", c.key)
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header.Get("Idempotent-Replayed") == "true", body}, err
}

func addItem(book string, quantity int64) call {
	return call{method: "POST", path: "/v1/cart/items", body: fmt.Sprintf(`{"bookId":%q,"quantity":%d}`, book, quantity)}
}

func setItem(book string, quantity int64) call {
	return call{method: "PUT", path: "/v1/cart/items/" + book, body: fmt.Sprintf(`{"quantity":%d}`, quantity)}
}

// createBooks fills the catalogue.
func createBooks(t *testing.T, s *stack, titles func(int) string, n int) []string {
	t.Helper()
	admin, ids := token("boss", "admin"), make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("book-%03d", i)
		body, err := json.Marshal(map[string]any{"bookId": ids[i], "title": titles(i), "author": "Anonymous", "unitPrice": 100 + i, "stock": 5})
		if err != nil {
			t.Fatal(err)
		}
		a, err := send(t.Context(), s.apis[0].addr, admin, call{method: "POST", path: "/v1/books", body: string(body)})
		if err != nil || a.status != http.StatusCreated {
			t.Fatalf("create a book: %d %s %v", a.status, a.body, err)
		}
	}
	return ids
}

func getCart(ctx context.Context, addr, user string) (schemas.Cart, error) {
	a, err := send(ctx, addr, token(user, ""), call{method: "GET", path: "/v1/cart"})
	if err != nil {
		return schemas.Cart{}, err
	}
	if a.status != http.StatusOK {
		return schemas.Cart{}, fmt.Errorf("GET /v1/cart: %d %s", a.status, a.body)
	}
	return schemas.DecodeCart(a.body)
}

// errRefused is a call's answer that is final but not 200.
var errRefused = errors.New("refused")

// insist repeats a keyed call on every instance in turn until one has decided, as a frontend would.
func insist(ctx context.Context, s *stack, user string, c call) (schemas.CartChanged, error) {
	bearer := token(user, "")
	for i := 0; ; i++ {
		a, err := send(ctx, s.apis[i%len(s.apis)].addr, bearer, c)
		switch {
		case ctx.Err() != nil:
			return schemas.CartChanged{}, ctx.Err()
		case err != nil, a.status == http.StatusServiceUnavailable:
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		case a.status == http.StatusOK:
			var change schemas.CartChanged
			return change, json.Unmarshal(a.body, &change)
		case a.status < 500:
			return schemas.CartChanged{}, fmt.Errorf("%w: %d %s", errRefused, a.status, a.body)
		default:
			return schemas.CartChanged{}, fmt.Errorf("%s %s: %d %s", c.method, c.path, a.status, a.body)
		}
	}
}
