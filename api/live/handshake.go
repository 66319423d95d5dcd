package live

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/coder/websocket"

	"cartstream/api/cart"
	"cartstream/schemas/token"
)

// Why a request was not upgraded, besides what Authenticate says and a cart.Unavailable.
var (
	// ErrOrigin: a browser shows another site.
	ErrOrigin = errors.New("origin not allowed")
	// ErrUnauthorized: there is no token.
	ErrUnauthorized = errors.New("no token")
	// ErrNotWebSocket: the request is no WebSocket handshake, or a wrong one.
	ErrNotWebSocket = errors.New("not a websocket handshake")
)

const (
	// protocol is the subprotocol that the server answers where a browser offers it.
	protocol = "cart.v1"
	// bearer begins the subprotocol that carries a browser's token.
	bearer = "bearer."
	// clientMessage is the largest message that is read to its end before it is refused, in bytes.
	clientMessage = 4 << 10

	// An idle socket costs mostly its buffers: control frames fit the one, most changes the other.
	readBuffer  = 256
	writeBuffer = 1 << 10
)

// allowed reports whether the request comes from no browser, from this server's own pages, or from an allowed origin.
func (g *Gateway) allowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	if u, err := url.Parse(origin); err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host) {
		return true
	}
	for _, o := range g.AllowedOrigins {
		if strings.EqualFold(strings.TrimSuffix(o, "/"), origin) {
			return true
		}
	}
	return false
}

// offered returns the token in Authorization or else, since browsers can't set that, in the subprotocols; "" for none.
func offered(h http.Header) string {
	if t := token.Bearer(h); t != "" {
		return t
	}
	for _, line := range h.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if t, ok := strings.CutPrefix(strings.TrimSpace(p), bearer); ok {
				return t
			}
		}
	}
	return ""
}

// since returns the state that the client says it has. What can't be read counts as none.
func since(u *url.URL) (cart.Tag, bool) {
	e, v, _ := strings.Cut(u.Query().Get("since"), ".")
	epoch, err := strconv.ParseUint(e, 10, 63)
	version, err2 := strconv.ParseUint(v, 10, 63)
	if err != nil || err2 != nil {
		return cart.Tag{}, false
	}
	return cart.Tag{Epoch: int64(epoch), Version: int64(version)}, true
}

// handshake checks what websocket.Accept would refuse with a text of its own.
func handshake(r *http.Request) error {
	has := func(header, word string) bool {
		for _, line := range r.Header.Values(header) {
			for t := range strings.SplitSeq(line, ",") {
				if strings.EqualFold(strings.TrimSpace(t), word) {
					return true
				}
			}
		}
		return false
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(r.Header.Get("Sec-WebSocket-Key")))
	switch {
	case r.Method != http.MethodGet || r.ProtoMajor != 1 || r.ProtoMinor < 1:
		return fmt.Errorf("%w: %s over %s", ErrNotWebSocket, r.Method, r.Proto)
	case !has("Connection", "upgrade") || !has("Upgrade", "websocket"):
		return fmt.Errorf("%w: no upgrade asked for", ErrNotWebSocket)
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return fmt.Errorf("%w: version %q", ErrNotWebSocket, r.Header.Get("Sec-WebSocket-Version"))
	case err != nil || len(key) != 16 || len(r.Header.Values("Sec-WebSocket-Key")) != 1:
		return fmt.Errorf("%w: bad key", ErrNotWebSocket)
	}
	return nil
}

// accept upgrades the connection. The raw connection is the one below the WebSocket's.
func accept(w http.ResponseWriter, r *http.Request) (*websocket.Conn, net.Conn, error) {
	hijack := &small{ResponseWriter: w}
	conn, err := websocket.Accept(hijack, r, &websocket.AcceptOptions{
		Subprotocols:       []string{protocol},
		InsecureSkipVerify: true, // origins are checked by allowed
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("upgrade: %w", err)
	}
	conn.SetReadLimit(clientMessage)
	return conn, hijack.raw, nil
}

// small gives the hijacked connection small buffers of its own in the place of net/http's, which go back to their pool.
type small struct {
	http.ResponseWriter
	raw net.Conn
}

// Hijack implements http.Hijacker.
func (s *small) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(s.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("hijack: %w", err)
	}
	s.raw = conn
	early := rw.Reader.Buffered() // a client that didn't wait for the answer
	from := io.MultiReader(io.LimitReader(rw.Reader, int64(early)), conn)
	reader := bufio.NewReaderSize(from, max(readBuffer, early))
	if early > 0 {
		// Accept takes over what is buffered and reads the rest from conn itself.
		if _, err := reader.Peek(early); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("read what came early: %w", err), conn.Close())
		}
	}
	return conn, bufio.NewReadWriter(reader, bufio.NewWriterSize(conn, writeBuffer)), nil
}

// WriteHeaderNow lets Gin send the answer to the handshake, which it would hold back for ever otherwise.
func (s *small) WriteHeaderNow() {
	if g, ok := s.ResponseWriter.(interface{ WriteHeaderNow() }); ok {
		g.WriteHeaderNow()
	}
}
