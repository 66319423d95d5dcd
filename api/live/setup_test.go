package live

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"cartstream/api/cart"
	"cartstream/schemas"
	"cartstream/schemas/token"
)

func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv("LIVE_CLIENTS")); err == nil {
		clients(n, os.Getenv("LIVE_URL"))
		return
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("cartstream/deploy/engines/engine.init.func1.1")) // starts real engines
}

// world is a gateway with all around it inside a synctest bubble: carts, a feed, and a network of pipes, which hold
// nothing back: who doesn't read makes the other side wait.
type world struct {
	t       *testing.T
	gateway *Gateway
	network chan net.Conn
	stop    context.CancelFunc // begins to drain
	drained chan struct{}

	mu      sync.Mutex
	carts   map[string]*shop
	err     error         // what Get answers
	reads   int           // calls of Get
	hold    chan struct{} // where not nil, Get waits for it after it has read
	follows map[string]chan struct{}
	silent  bool // the feed confirms nothing
	mute    bool // clients answer no pings
}

// play runs a test in a world of its own, which has to be empty at its end.
func play(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			t: t, network: make(chan net.Conn), drained: make(chan struct{}),
			carts: map[string]*shop{}, follows: map[string]chan struct{}{},
		}
		w.gateway = New(Config{
			Carts: w, Feed: func(cart.Listener) Feed { return w },
			Tokens:         tokens{},
			AllowedOrigins: []string{"https://shop.example"},
			Problem: func(rw http.ResponseWriter, _ *http.Request, err error) {
				http.Error(rw, err.Error(), statusOf(err))
			},
			Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		})
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		w.stop = stop
		server := &http.Server{Handler: w.gateway, ReadHeaderTimeout: time.Second}
		defer server.Close()
		go func() { _ = server.Serve(pipes{w.network, make(chan struct{})}) }()
		go func() {
			_ = w.gateway.Run(ctx)
			close(w.drained)
		}()
		test(t, w)
		stop()
		<-w.drained
		if len(w.follows) != 0 || len(w.gateway.watches) != 0 || w.metric(w.gateway.metrics.open) != 0 {
			t.Errorf("left behind: followed %v, watched %d, open %v", w.follows, len(w.gateway.watches), w.metric(w.gateway.metrics.open))
		}
	})
}

var errRefused = errors.New("refused")

// tokens are like "u1", which never expires, and "u1~10s", which does. "bad" is none.
type tokens struct{}

func (tokens) Verify(_ context.Context, raw string) (token.Claims, error) {
	user, life, expires := strings.Cut(raw, "~")
	if user == "bad" {
		return token.Claims{}, errRefused
	}
	claims := token.Claims{User: user}
	if expires {
		d, err := time.ParseDuration(life)
		if err != nil {
			return token.Claims{}, err
		}
		claims.Expires = time.Now().Add(d)
	}
	return claims, nil
}

func statusOf(err error) int {
	var away *cart.Unavailable
	switch {
	case errors.Is(err, ErrOrigin):
		return http.StatusForbidden
	case errors.Is(err, ErrUnauthorized), errors.Is(err, errRefused):
		return http.StatusUnauthorized
	case errors.Is(err, ErrNotWebSocket):
		return http.StatusBadRequest
	case errors.As(err, &away):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func (w *world) metric(m prometheus.Metric) float64 {
	var value dto.Metric
	if err := m.Write(&value); err != nil {
		w.t.Error(err)
	}
	return value.GetGauge().GetValue() + value.GetCounter().GetValue()
}

// Get implements Carts.
func (w *world) Get(_ context.Context, user string) (cart.View, error) {
	w.mu.Lock()
	w.reads++
	view, err, hold := w.shop(user).view, w.err, w.hold
	w.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return view, err
}

// shop is called with mu held.
func (w *world) shop(user string) *shop {
	if w.carts[user] == nil {
		w.carts[user] = &shop{view: cart.View{Generation: 5}, fresh: true}
		w.carts[user].view.UserID = user
	}
	return w.carts[user]
}

// Follow implements Feed.
func (w *world) Follow(user string) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.follows[user] != nil {
		w.t.Errorf("%s is followed already", user)
	}
	w.follows[user] = make(chan struct{})
	if !w.silent {
		close(w.follows[user])
	}
	return w.follows[user]
}

// Unfollow implements Feed.
func (w *world) Unfollow(user string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.follows, user)
}

// Run implements Feed.
func (w *world) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// set changes a line in the user's cart and returns the notice, unpublished.
func (w *world) set(user, book string, quantity int64) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.shop(user)
	s.change(book, quantity)
	c := s.notices[0]
	s.notices, c.UserID = nil, user
	s.view.UserID = user
	return string(schemas.EncodeCartChanged(c))
}

func (w *world) change(user, book string, quantity int64) {
	w.publish(user, w.set(user, book, quantity))
}

func (w *world) publish(user, notice string) { listener{w.gateway}.Changed(user, notice) }

// with sets what Get does.
func (w *world) with(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// pipes is a net.Listener.
type pipes struct {
	network chan net.Conn
	closed  chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.network:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p pipes) Close() error { close(p.closed); return nil }
func (p pipes) Addr() net.Addr {
	return &net.UnixAddr{Name: "pipes"}
}

// device is a client that checks every frame it gets.
type device struct {
	*follower
	t    *testing.T
	conn *websocket.Conn
	pipe net.Conn
}

// dial answers with the status where the socket isn't opened.
func (w *world) dial(bearer, query string, header http.Header) (*device, int) {
	w.t.Helper()
	d := &device{follower: newFollower(), t: w.t}
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		w.network <- server
		d.pipe = client
		return client, nil
	}}
	if header == nil {
		header = http.Header{}
	}
	if bearer != "" {
		header.Set("Authorization", "Bearer "+bearer)
	}
	options := &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}, HTTPHeader: header}
	options.OnPingReceived = func(context.Context, []byte) bool { return !w.mute }
	if p := header.Get("Sec-WebSocket-Protocol"); p != "" {
		options.Subprotocols = strings.Split(p, ", ")
	}
	conn, response, err := websocket.Dial(w.t.Context(), "ws://api.example/v1/cart/live"+query, options)
	if response == nil {
		w.t.Fatal(err)
	}
	if response.Body != nil {
		_ = response.Body.Close()
	}
	if err != nil {
		transport.CloseIdleConnections()
		return nil, response.StatusCode
	}
	conn.SetReadLimit(-1)
	d.conn = conn
	w.t.Cleanup(func() { _ = conn.CloseNow() })
	return d, response.StatusCode
}

// connect is dial for a client that is let in, and has the state that its first frame told it.
func (w *world) connect(bearer, query string) *device {
	w.t.Helper()
	d, status := w.dial(bearer, query, nil)
	if d == nil {
		w.t.Fatalf("connecting got status %d", status)
		return nil
	}
	d.next()
	return d
}

// next reads one frame.
func (d *device) next() {
	d.t.Helper()
	_, text, err := d.conn.Read(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.apply(text); err != nil {
		d.t.Fatal(err)
	}
}

// follow reads all that comes, until the connection ends, whose close code it delivers.
func (d *device) follow() <-chan websocket.StatusCode {
	ended := make(chan websocket.StatusCode, 1)
	go func() {
		for {
			_, text, err := d.conn.Read(context.Background())
			if err != nil {
				ended <- websocket.CloseStatus(err)
				return
			}
			if err := d.apply(text); err != nil {
				d.t.Error(err)
			}
		}
	}()
	return ended
}

// has checks the client's cart against the truth.
func (d *device) has(w *world, user string) {
	d.t.Helper()
	w.mu.Lock()
	want := w.shop(user).view.Shown()
	w.mu.Unlock()
	if want.Items == nil {
		want.Items = []schemas.Line{}
	}
	a, _ := json.Marshal(want)
	b, _ := json.Marshal(d.Cart)
	if string(a) != string(b) {
		d.t.Fatalf("client has\n%s, Redis\n%s", b, a)
	}
}

var _ io.Closer = pipes{}
