package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

// frameLimit is far above the largest frame: a cart has to fit into a Kafka record of 4 MiB.
const frameLimit = 16 << 20

// The wait before a new connection is random and at most this, longer after each failure.
const (
	firstWait = 250 * time.Millisecond
	longWait  = 5 * time.Second
)

// watch prints each frame of the user's WebSocket as one line of JSON until ctx ends, which is no error. A connection
// that breaks later is made again, with jitter; one that is refused for what it asks is an error.
func (s *stack) watch(ctx context.Context, user string) error {
	env, err := s.client()
	if err != nil {
		return err
	}
	url := "ws" + strings.TrimPrefix(baseURL(env["HTTP_ADDR"]), "http") + "/v1/cart/live"
	most, connected := firstWait, false
	for {
		frames, err := s.follow(ctx, url, user, env)
		if ctx.Err() != nil {
			return nil
		}
		var fatal fatalError
		if errors.As(err, &fatal) || !connected && frames == 0 && refused(err) {
			return notUp(err, url)
		}
		if frames > 0 {
			most, connected = firstWait, true
		}
		wait := rand.N(most) //nolint:gosec // jitter
		s.say("connecting again in %v: %v", wait.Round(time.Millisecond), err)
		if pause(ctx, wait) != nil {
			return nil
		}
		most = min(2*most, longWait)
	}
}

// fatalError is one that another try won't mend.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

// follow prints the frames of one connection, made with a fresh token, until it breaks.
func (s *stack) follow(ctx context.Context, url, user string, env map[string]string) (frames int, err error) {
	token, err := sign(env, user, "")
	if err != nil {
		return 0, fatalError{err}
	}
	dialCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
	conn, resp, err := websocket.Dial(dialCtx, url, &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
	cancel()
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close()
	}
	if err != nil {
		if resp != nil && resp.StatusCode/100 == 4 && resp.StatusCode != http.StatusTooManyRequests {
			return 0, fatalError{fmt.Errorf("%s answers %s", url, resp.Status)}
		}
		return 0, err
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(frameLimit)
	for {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			return frames, closed(err)
		}
		frames++
		var line bytes.Buffer
		if err := json.Compact(&line, frame); err != nil {
			return frames, fatalError{fmt.Errorf("a frame is no JSON: %w", err)}
		}
		line.WriteByte('\n')
		if _, err := s.out.Write(line.Bytes()); err != nil {
			return frames, fatalError{fmt.Errorf("print a frame: %w", err)}
		}
	}
}

// closed says in words why the server ended the connection, where it said so.
func closed(err error) error {
	switch code := websocket.CloseStatus(err); code {
	case -1:
		return err
	case websocket.StatusGoingAway:
		return errors.New("the server is draining")
	case 4401:
		return errors.New("the token has expired")
	default:
		return fmt.Errorf("the server closed the connection with %d", code)
	}
}

func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
