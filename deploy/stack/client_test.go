package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
)

func atoi(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func claims(t *testing.T, token, secret string) jwt.MapClaims {
	t.Helper()
	got := jwt.MapClaims{}
	if _, err := jwt.ParseWithClaims(strings.TrimSpace(token), got, func(*jwt.Token) (any, error) { return []byte(secret), nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired()); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestToken(t *testing.T) {
	t.Run("is all that is printed, is valid for 24 hours and says who and what", func(t *testing.T) {
		c := newCheckout(t)
		t.Setenv("JWT_SECRET", "0123456789abcdef0123456789abcdef")
		t.Setenv("JWT_ISSUER", "https://issuer")
		t.Setenv("JWT_AUDIENCE", "carts")
		got := claims(t, c.must("token", "alice", "admin"), "0123456789abcdef0123456789abcdef")
		expires, _ := got.GetExpirationTime()
		if left := time.Until(expires.Time); left < 23*time.Hour || left > 24*time.Hour {
			t.Errorf("it is valid for %v", left)
		}
		if got["sub"] != "alice" || got["role"] != "admin" || got["iss"] != "https://issuer" || got["aud"] != "carts" {
			t.Errorf("claims %v", got)
		}
	})
	t.Run("is signed with the checkout's own secret where none is set, the same each time", func(t *testing.T) {
		c := newCheckout(t)
		first := c.must("token", "alice")
		b, err := os.ReadFile(c.stack().path("secret"))
		if err != nil {
			t.Fatal(err)
		}
		secret := strings.TrimSpace(string(b))
		for _, token := range []string{first, c.must("token", "alice")} {
			if got := claims(t, token, secret); got["role"] != "customer" {
				t.Errorf("claims %v", got)
			}
		}
	})
	for claim, f := range map[string]struct {
		args []string
		env  string
		says string
	}{
		"needs a user":                           {args: []string{"token"}, says: "token needs a USER"},
		"is for a user that the API accepts":     {args: []string{"token", "a b"}, says: `"a b" can't be a user`},
		"is for a role that exists":              {args: []string{"token", "alice", "root"}, says: `"root" is no role: customer or admin`},
		"takes no more":                          {args: []string{"token", "alice", "admin", "now"}, says: `unexpected argument "now"`},
		"can't be made where only JWKS says how": {args: []string{"token", "alice"}, env: "http://127.0.0.1/keys", says: "set JWT_SECRET to make one"},
	} {
		t.Run(claim, func(t *testing.T) {
			c := newCheckout(t)
			t.Setenv("JWT_JWKS_URL", f.env)
			if _, err := c.does(f.args...); err == nil || !strings.Contains(err.Error(), f.says) {
				t.Fatalf("got %v, want %q", err, f.says)
			}
		})
	}
}

// serve runs an API of the test's own and names it in HTTP_ADDR.
func serve(t *testing.T, handler http.HandlerFunc) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	t.Setenv("HTTP_ADDR", strings.TrimPrefix(server.URL, "http://"))
}

// live answers each WebSocket handshake with the frames of that connection, then closes it with code.
func live(t *testing.T, code websocket.StatusCode, frames func(connection int32) []string) http.HandlerFunc {
	var connections atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ey") {
			t.Errorf("Authorization %q", r.Header.Get("Authorization"))
		}
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		for _, frame := range frames(connections.Add(1)) {
			if conn.Write(r.Context(), websocket.MessageText, []byte(frame)) != nil {
				return
			}
		}
		_ = conn.Close(code, "")
	}
}

// watches runs watch until it has printed n lines, then interrupts it.
func watches(t *testing.T, c *checkout, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- command(ctx, c.stack(), []string{"watch", "alice"}) }()
	for strings.Count(c.out.String(), "\n") < n {
		select {
		case err := <-done:
			t.Fatalf("it ended: %v", err)
		case <-time.After(lookEvery):
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatalf("interrupted, it ended with %v", err)
	}
	return strings.Split(c.out.String(), "\n")[:n]
}

func TestWatch(t *testing.T) {
	t.Run("prints each frame as one line of JSON", func(t *testing.T) {
		c := newCheckout(t)
		serve(t, live(t, websocket.StatusGoingAway, func(int32) []string { return []string{"{\n  \"type\": \"snapshot\"\n}", `{"type":"change"}`} }))
		if got := watches(t, c, 2); got[0] != `{"type":"snapshot"}` || got[1] != `{"type":"change"}` {
			t.Fatalf("printed %q", got)
		}
	})
	t.Run("connects again after a drain and after an expired token", func(t *testing.T) {
		for _, code := range []websocket.StatusCode{websocket.StatusGoingAway, 4401} {
			c := newCheckout(t)
			serve(t, live(t, code, func(n int32) []string { return []string{fmt.Sprintf(`{"connection":%d}`, n)} }))
			if got := watches(t, c, 3); got[2] != `{"connection":3}` {
				t.Fatalf("printed %q", got)
			}
			contains(t, c.progress.String(), "connecting again in ")
		}
	})
	t.Run("takes the largest cart that the limits allow", func(t *testing.T) {
		var lines []map[string]any
		for i := range 500 {
			lines = append(lines, map[string]any{"bookId": strings.Repeat("b", 60) + strconv.Itoa(i), "title": strings.Repeat("📚", 500), "unitPrice": 999_999_999})
		}
		b, err := json.Marshal(map[string]any{"type": "snapshot", "cart": map[string]any{"items": lines}})
		if err != nil {
			t.Fatal(err)
		}
		c := newCheckout(t)
		serve(t, live(t, websocket.StatusGoingAway, func(int32) []string { return []string{string(b)} }))
		if got := watches(t, c, 1); got[0] != string(b) || len(got[0]) < 1<<20 {
			t.Fatalf("printed %d of %d bytes", len(got[0]), len(b))
		}
	})
	t.Run("says what to do where nothing listens", func(t *testing.T) {
		c := newCheckout(t)
		gone := httptest.NewServer(nil)
		gone.Close()
		t.Setenv("HTTP_ADDR", strings.TrimPrefix(gone.URL, "http://"))
		if _, err := c.does("watch", "alice"); err == nil || !strings.Contains(err.Error(), "task up starts it") {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("ends where its token is refused", func(t *testing.T) {
		c := newCheckout(t)
		serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
		if _, err := c.does("watch", "alice"); err == nil || !strings.Contains(err.Error(), "401") {
			t.Fatalf("got %v", err)
		}
	})
}

func TestSeed(t *testing.T) {
	for claim, f := range map[string]struct {
		answers []int // to the first calls; 201 after that
		says    string
		fails   string
	}{
		"adds every book":                            {says: "3 books added, 0 were there already."},
		"leaves books that are there":                {answers: []int{409, 409}, says: "1 books added, 2 were there already."},
		"waits while the API refuses for now":        {answers: []int{429, 503, 503}, says: "3 books added, 0 were there already."},
		"ends with what the API says where it's no":  {answers: []int{403, 403, 403}, fails: "403 Forbidden: this call needs the role admin"},
		"ends with what the API says where it fails": {answers: []int{500, 500, 500}, fails: "500"},
	} {
		t.Run(claim, func(t *testing.T) {
			c := newCheckout(t)
			var calls atomic.Int32
			serve(t, func(w http.ResponseWriter, _ *http.Request) {
				n := int(calls.Add(1))
				if n > len(f.answers) {
					w.WriteHeader(http.StatusCreated)
					return
				}
				w.WriteHeader(f.answers[n-1])
				if f.answers[n-1] == http.StatusForbidden {
					_, _ = fmt.Fprint(w, `{"title":"Forbidden","detail":"this call needs the role admin"}`)
				}
			})
			_, err := c.does("seed")
			if f.fails != "" {
				if err == nil || !strings.Contains(err.Error(), f.fails) {
					t.Fatalf("got %v, want %q", err, f.fails)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			contains(t, c.progress.String(), f.says)
		})
	}
}

func TestWrongCallsSayHowToCall(t *testing.T) {
	c := newCheckout(t)
	for claim, args := range map[string][]string{
		"no command":                  {},
		"a command that isn't there":  {"fly"},
		"a flag that isn't there":     {"down", "--hard"},
		"an argument where none goes": {"up", "now"},
		"a watch of nobody":           {"watch"},
	} {
		t.Run(claim, func(t *testing.T) {
			if _, err := c.does(args...); !errors.Is(err, errUsage) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestRun(t *testing.T) {
	t.Run("drains both when it is interrupted", func(t *testing.T) {
		c, ctx, interrupt, done := runs(t)
		awaitText(ctx, t, c.out, "listening with REDIS_ADDRS")
		awaitText(ctx, t, c.out, "pid of consumers ") // before it listens to signals, one would end it
		interrupt()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		contains(t, c.out.String(), "drained")
	})
	t.Run("ends with an error, and stops the other one, when one ends by itself", func(t *testing.T) {
		c, ctx, _, done := runs(t)
		awaitText(ctx, t, c.out, "pid of consumers ")
		_, after, _ := strings.Cut(c.out.String(), "pid of consumers ")
		pid, _, _ := strings.Cut(after, "\n")
		if err := syscall.Kill(atoi(t, pid), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err == nil || !strings.Contains(err.Error(), "consumers ended by itself") {
			t.Fatalf("got %v", err)
		}
		contains(t, c.out.String(), "drained")
	})
	t.Run("starts nothing where an engine isn't there", func(t *testing.T) {
		c := newCheckout(t)
		t.Setenv("REDIS_ADDRS", "127.0.0.1:1")
		if _, err := c.does("run"); err == nil || !strings.Contains(err.Error(), "Redis, which REDIS_ADDRS names, can't be reached") {
			t.Fatalf("got %v", err)
		}
	})
}

// runs starts run on free ports.
func runs(t *testing.T) (c *checkout, ctx context.Context, interrupt func(), done <-chan error) {
	t.Helper()
	c = newCheckout(t)
	c.write("consumers/main.go", strings.Replace(fakeConsumers, "<-ctx.Done()", `fmt.Printf("pid of consumers %d\n", os.Getpid())
	<-ctx.Done()`, 1))
	for _, name := range []string{"HTTP_ADDR", "OPS_ADDR"} {
		port, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv(name, fmt.Sprintf("127.0.0.1:%d", port))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	ended := make(chan error, 1)
	go func() { ended <- command(ctx, c.stack(), []string{"run"}) }()
	return c, ctx, cancel, ended
}

func awaitText(ctx context.Context, t *testing.T, o *output, text string) {
	t.Helper()
	for !strings.Contains(o.String(), text) {
		if pause(ctx, lookEvery) != nil {
			t.Fatalf("%q never came in:\n%s", text, o)
		}
	}
}
