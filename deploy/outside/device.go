// Package outside is what a stranger sees of a running product: a socket that is followed as a frontend would, and topics
// read as a downstream team would. It knows only the contract.
package outside

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"cartstream/schemas"
)

const (
	// dialFor bounds one try to connect, and apart is the time between two.
	dialFor = 5 * time.Second
	apart   = 100 * time.Millisecond
)

// Device follows a user's cart over a WebSocket, as a frontend would: it applies what it is sent, connects again when it is
// cut off, and keeps the first thing that the contract rules out.
type Device struct {
	User, Addr string

	bearer string
	ended  chan struct{}

	mu    sync.Mutex
	cart  schemas.Cart
	known bool
	fault error
}

// Follow starts a device that follows until ctx ends.
func Follow(ctx context.Context, addr, user, bearer string) *Device {
	d := &Device{User: user, Addr: addr, bearer: bearer, ended: make(chan struct{})}
	go func() {
		defer close(d.ended)
		for ctx.Err() == nil {
			d.connect(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(apart):
			}
		}
	}()
	return d
}

// Ended is closed once the device follows no more.
func (d *Device) Ended() <-chan struct{} { return d.ended }

// connect follows until the connection breaks.
func (d *Device) connect(ctx context.Context) {
	url := "ws://" + d.Addr + "/v1/cart/live"
	d.mu.Lock()
	if d.known {
		url += fmt.Sprintf("?since=%d.%d", d.cart.Epoch, d.cart.Version)
	}
	d.mu.Unlock()
	dialing, cancel := context.WithTimeout(ctx, dialFor)
	conn, resp, err := websocket.Dial(dialing, url, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + d.bearer}}})
	cancel()
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusServiceUnavailable {
			d.wrong(fmt.Errorf("connect: %w", err))
		}
		return
	}
	defer conn.CloseNow() //nolint:errcheck // it is broken or not needed any more
	conn.SetReadLimit(-1)
	for first := true; ; first = false {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if err := d.take(frame, first); err != nil {
			d.wrong(err)
			return
		}
	}
}

func (d *Device) wrong(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fault == nil {
		d.fault = err
	}
}

// take applies a frame. first says that nothing came before it on this connection.
func (d *Device) take(frame []byte, first bool) error {
	var f struct {
		Type           string
		Cart           *schemas.Cart
		Change         *schemas.CartChanged
		Epoch, Version int64
	}
	if err := json.Unmarshal(frame, &f); err != nil {
		return fmt.Errorf("frame %.100s: %w", frame, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case f.Type == "snapshot" && f.Cart != nil:
		if !first && !schemas.Newer(f.Cart.Epoch, f.Cart.Version, d.cart.Epoch, d.cart.Version) {
			return fmt.Errorf("snapshot %d.%d after %d.%d", f.Cart.Epoch, f.Cart.Version, d.cart.Epoch, d.cart.Version)
		}
		d.cart, d.known = *f.Cart, true
	case f.Type == "current" && first && d.known:
		if f.Epoch != d.cart.Epoch || f.Version != d.cart.Version {
			return fmt.Errorf("current %d.%d, but %d.%d was asked for", f.Epoch, f.Version, d.cart.Epoch, d.cart.Version)
		}
	case f.Type == "change" && f.Change != nil && !first:
		if got := d.cart.Apply(*f.Change); got != schemas.Applied {
			return fmt.Errorf("change %d.%d (whole %v) can't be applied to %d.%d", f.Change.Epoch, f.Change.Version, f.Change.Whole, d.cart.Epoch, d.cart.Version)
		}
	default:
		return fmt.Errorf("unexpected frame %.100s", frame)
	}
	return nil
}

// Version is the one that the device shows, 0 for nothing yet.
func (d *Device) Version() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cart.Version
}

// Shows returns nil once the device shows the cart.
func (d *Device) Shows(want schemas.Cart) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.known {
		return fmt.Errorf("a device of %s on %s has seen nothing", d.User, d.Addr)
	}
	if err := Same(d.cart, want); err != nil {
		return fmt.Errorf("a device of %s on %s: %w", d.User, d.Addr, err)
	}
	return nil
}

// Fault is the first thing that the device was sent and must not be.
func (d *Device) Fault() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fault != nil {
		return fmt.Errorf("a device of %s on %s: %w", d.User, d.Addr, d.fault)
	}
	return nil
}

// Same compares what two carts hold, whatever epoch they are shown under.
func Same(got, want schemas.Cart) error {
	shown := got.Epoch
	got.Epoch = want.Epoch
	if a, b := string(schemas.EncodeCart(got)), string(schemas.EncodeCart(want)); a != b {
		return fmt.Errorf("has %d.%d %.600s, not %d.%d %.600s", shown, got.Version, a, want.Epoch, want.Version, b)
	}
	return nil
}
