package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// device is a user's WebSocket, and when each version of the cart was answered and shown.
type device struct {
	user string
	conn *websocket.Conn

	mu       sync.Mutex
	answered map[int64]time.Time
	shown    []showing // in order of versions
	fault    error
}

// showing is a frame: it shows the version and all before it.
type showing struct {
	version int64
	at      time.Time
}

// connect opens the user's socket and waits for the first frame.
func connect(ctx context.Context, addr, user string) (*device, error) {
	token, err := sign(user, "customer")
	if err != nil {
		return nil, err
	}
	conn, _, err := websocket.Dial(ctx, "ws://"+addr+"/v1/cart/live", &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		return nil, fmt.Errorf("open the socket of %s: %w", user, err)
	}
	conn.SetReadLimit(-1)
	if _, _, err := conn.Read(ctx); err != nil {
		return nil, fmt.Errorf("read the snapshot of %s: %w", user, err)
	}
	d := &device{user: user, conn: conn, answered: map[int64]time.Time{}}
	go d.read(ctx)
	return d, nil
}

func (d *device) read(ctx context.Context) {
	for {
		_, frame, err := d.conn.Read(ctx)
		now := time.Now()
		d.mu.Lock()
		if err != nil {
			d.fault = err
			d.mu.Unlock()
			return
		}
		d.shown = append(d.shown, showing{version(frame), now})
		d.mu.Unlock()
	}
}

// version finds a frame's version. Decoding all of it would take the processor from what is measured; no string of ours
// that comes before it holds such a name.
func version(frame []byte) int64 {
	_, rest, _ := bytes.Cut(frame, []byte(`"version":`))
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	v, _ := strconv.ParseInt(string(rest[:end]), 10, 64) // 0 shows nothing, so the change counts as missing
	return v
}

// tagVersion is the version that an entity tag "<epoch>.<version>" names.
func tagVersion(tag []byte) (int64, error) {
	_, v, _ := bytes.Cut(bytes.Trim(tag, `"`), []byte("."))
	return strconv.ParseInt(string(v), 10, 64)
}

// answer notes when a change was answered.
func (d *device) answer(tag []byte, at time.Time) error {
	v, err := tagVersion(tag)
	if err != nil {
		return fmt.Errorf("%w: ETag %q", errAnswer, tag)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answered[v] = at
	return nil
}

// waiting is the number of answered changes that no frame has shown yet.
func (d *device) waiting() (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for v := range d.answered {
		if len(d.shown) == 0 || d.shown[len(d.shown)-1].version < v {
			n++
		}
	}
	return n, d.fault
}

// take returns how long after its answer each change was shown, and forgets them. One that was shown before its answer
// came took 0.
func (d *device) take() (delays []time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for v, at := range d.answered {
		i, _ := slices.BinarySearchFunc(d.shown, v, func(s showing, v int64) int { return int(s.version - v) })
		if i < len(d.shown) {
			delays = append(delays, max(0, d.shown[i].at.Sub(at)))
		}
	}
	clear(d.answered)
	d.shown = d.shown[:0]
	return delays
}
