package rest_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"cartstream/api/live"
	"cartstream/api/rest"
	"cartstream/schemas"
)

func TestAWebSocketOpensThroughTheAPI(t *testing.T) {
	t.Parallel()
	a := setup(t, func(c *rest.Config) {
		c.Live = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"cart.v1"}})
			if err != nil {
				t.Errorf("accept: %v", err)
				return
			}
			if err := conn.Write(r.Context(), websocket.MessageText, []byte("hello")); err != nil {
				t.Errorf("write: %v", err)
			}
			_ = conn.Close(websocket.StatusGoingAway, "")
		})
	})
	conn, response, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(a.url, "http")+"/v1/cart/live", &websocket.DialOptions{Subprotocols: []string{"cart.v1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow() //nolint:errcheck // the other side has closed it
	if response.StatusCode != 101 || conn.Subprotocol() != "cart.v1" {
		t.Errorf("%d, subprotocol %q", response.StatusCode, conn.Subprotocol())
	}
	if _, frame, err := conn.Read(t.Context()); err != nil || string(frame) != "hello" {
		t.Errorf("read %q, %v", frame, err)
	}
	if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("closed with %v", err)
	}
	counted := func() bool { // once the handler has returned, which the device doesn't see
		metrics := string(a.do(t, call{method: "GET", path: "/metrics"}).body)
		return strings.Contains(metrics, `{method="GET",route="/v1/cart/live",status="101"} 1`)
	}
	for end := time.Now().Add(10 * time.Second); !counted(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the handshake isn't counted")
		}
	}
}

func TestARefusedWebSocketIsAProblem(t *testing.T) {
	t.Parallel()
	for claim, tc := range map[string]struct {
		err    error
		status int
		slug   string
	}{
		"no token":            {live.ErrUnauthorized, 401, "unauthorized"},
		"another origin":      {live.ErrOrigin, 403, "forbidden"},
		"no handshake":        {live.ErrNotWebSocket, 400, "invalid-request"},
		"a Redis that's away": {schemas.ErrUnavailable, 503, "unavailable"},
	} {
		t.Run(claim, func(t *testing.T) {
			a := setup(t, func(c *rest.Config) {
				refuse := rest.Refuse(slog.New(slog.DiscardHandler))
				c.Live = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { refuse(w, r, tc.err) })
			})
			a.refused(t, call{method: "GET", path: "/v1/cart/live?since=1.7"}, tc.status, tc.slug)
		})
	}
}
