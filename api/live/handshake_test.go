package live

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"cartstream/api/cart"
)

// still is a gateway's surroundings in which nothing happens.
type still struct{}

func (still) Get(context.Context, string) (cart.View, error) { return cart.View{Generation: 5}, nil }
func (still) Unfollow(string)                                {}
func (still) Run(ctx context.Context) error                  { <-ctx.Done(); return nil }
func (still) Follow(string) <-chan struct{} {
	confirmed := make(chan struct{})
	close(confirmed)
	return confirmed
}

// quiet runs a gateway until the test ends.
func quiet(t testing.TB) *Gateway {
	t.Helper()
	g := New(Config{
		Carts: still{}, Feed: func(cart.Listener) Feed { return still{} }, Tokens: tokens{},
		Problem: func(w http.ResponseWriter, _ *http.Request, err error) {
			w.WriteHeader(statusOf(err))
			_, _ = io.WriteString(w, "problem: "+err.Error())
		},
		Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		_ = g.Run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	return g
}

// serve runs a gateway on real connections, behind what wrap puts before it.
func serve(t testing.TB, wrap func(http.Handler) http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(wrap(quiet(t)))
	t.Cleanup(server.Close)
	return server
}

func plain(h http.Handler) http.Handler { return h }

func TestARequestThatIsNoHandshakeIsAProblemOfOurs(t *testing.T) {
	good := "GET /v1/cart/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer u1\r\nConnection: keep-alive, Upgrade\r\n" +
		"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	server := serve(t, plain)
	for claim, c := range map[string]struct {
		from, to string
		status   int
	}{
		"a handshake":                          {"", "", 101},
		"without an upgrade":                   {"Upgrade: websocket\r\n", "", 400},
		"of a connection to keep":              {"keep-alive, Upgrade", "keep-alive", 400},
		"to another protocol":                  {"websocket\r\n", "h2c\r\n", 400},
		"of another version":                   {"Version: 13", "Version: 8", 400},
		"without a version":                    {"Sec-WebSocket-Version: 13\r\n", "", 400},
		"without a key":                        {"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400},
		"with a short key":                     {"dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbQ==", 400},
		"with two keys":                        {"Sec-WebSocket-Version", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version", 400},
		"by another method":                    {"GET ", "POST ", 400},
		"by an old HTTP":                       {"HTTP/1.1", "HTTP/1.0", 400},
		"by a plain client without a token":    {"Authorization: Bearer u1\r\n", "", 401},
		"with a token of another scheme":       {"Bearer", "Basic", 401},
		"with a scheme in another case":        {"Bearer", "bearer", 101},
		"with a token by subprotocols":         {"Authorization: Bearer u1", "Sec-WebSocket-Protocol: cart.v1\r\nSec-WebSocket-Protocol: bearer.u1", 101},
		"with a token by an empty subprotocol": {"Authorization: Bearer u1", "Sec-WebSocket-Protocol: cart.v1, bearer.", 401},
	} {
		t.Run(claim, func(t *testing.T) {
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, strings.Replace(good, c.from, c.to, 1)); err != nil {
				t.Fatal(err)
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != c.status {
				t.Errorf("status %d, want %d", response.StatusCode, c.status)
			}
			if c.status != http.StatusSwitchingProtocols {
				if body, _ := io.ReadAll(response.Body); !strings.HasPrefix(string(body), "problem: ") {
					t.Errorf("answered by somebody else: %s", body)
				}
			}
		})
	}
}

// withheld is a response writer that sends no header until it is told to, as Gin's.
type withheld struct {
	http.ResponseWriter
	status int
}

func (w *withheld) WriteHeader(status int)      { w.status = status }
func (w *withheld) WriteHeaderNow()             { w.ResponseWriter.WriteHeader(w.status) }
func (w *withheld) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestSocketsOpenBehindOtherResponseWriters(t *testing.T) {
	for claim, wrap := range map[string]func(http.ResponseWriter) http.ResponseWriter{
		"net/http's own":            func(w http.ResponseWriter) http.ResponseWriter { return w },
		"one that holds back":       func(w http.ResponseWriter) http.ResponseWriter { return &withheld{ResponseWriter: w} },
		"one that can be unwrapped": func(w http.ResponseWriter) http.ResponseWriter { return unwraps{w} },
	} {
		t.Run(claim, func(t *testing.T) {
			server := serve(t, func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(wrap(w), r) })
			})
			conn, _, err := websocket.Dial(t.Context(), server.URL, &websocket.DialOptions{
				HTTPHeader: http.Header{"Authorization": {"Bearer u1"}}})
			if err != nil {
				t.Fatal(err)
			}
			if _, text, err := conn.Read(t.Context()); err != nil || !strings.HasPrefix(string(text), snapshotBegin) {
				t.Errorf("got %s, %v", text, err)
			}
			if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
				t.Error(err)
			}
		})
	}
}

type unwraps struct{ http.ResponseWriter }

func (u unwraps) Unwrap() http.ResponseWriter { return u.ResponseWriter }

func TestWhatAClientSendsBeforeTheAnswerIsNotLost(t *testing.T) {
	server := serve(t, plain)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	handshake := "GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer u1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	pings := strings.Repeat("\x89\x83\x00\x00\x00\x00ask", 100) // masked with zeros; more than the small buffer holds
	if _, err := fmt.Fprint(conn, handshake, pings); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	response, err := http.ReadResponse(r, nil)
	if err != nil || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(response, err)
	}
	_ = response.Body.Close()
	pongs := 0
	for pongs < 100 {
		head := make([]byte, 2)
		if _, err := io.ReadFull(r, head); err != nil {
			t.Fatal(pongs, err)
		}
		size := int(head[1])
		if size == 126 {
			long := make([]byte, 2)
			if _, err := io.ReadFull(r, long); err != nil {
				t.Fatal(err)
			}
			size = int(long[0])<<8 | int(long[1])
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(r, body); err != nil {
			t.Fatal(err)
		}
		if head[0] == 0x8a && string(body) == "ask" {
			pongs++
		}
	}
}

func TestAConnectionThatCannotBeTakenOverLeavesNothingBehind(t *testing.T) {
	g := New(Config{
		Carts: still{}, Feed: func(cart.Listener) Feed { return still{} }, Tokens: tokens{},
		Problem: func(http.ResponseWriter, *http.Request, error) { t.Error(errors.New("a second answer")) },
		Log:     slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	r := httptest.NewRequest(http.MethodGet, "/v1/cart/live", nil)
	for name, value := range map[string]string{"Authorization": "Bearer u1", "Connection": "Upgrade", "Upgrade": "websocket",
		"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	if len(g.watches) != 0 {
		t.Error("a user is still watched")
	}
}
