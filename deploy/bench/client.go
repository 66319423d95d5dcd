package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// client is one keep-alive HTTP/1.1 connection that sends adds: as little as can be besides, since it shares the machine
// with what it measures. It is for one goroutine.
type client struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
}

// caller is a user.
type caller struct {
	id     string
	header []byte // of every add
}

// get is a request for the caller's cart, if it isn't the one that tag names.
func (u caller) get(tag string) []byte {
	_, header, _ := bytes.Cut(u.header, []byte("\r\n"))
	if tag != "" {
		tag = "If-None-Match: " + tag + "\r\n"
	}
	return fmt.Appendf(nil, "GET /v1/cart HTTP/1.1\r\n%s%s\r\n", header, tag)
}

// callers makes n users with tokens. The bare handler takes the user from X-User; both sides get the same bytes.
func callers(n int) ([]caller, error) {
	all := make([]caller, n)
	for i := range all {
		token, err := sign(userID(i), "customer")
		if err != nil {
			return nil, err
		}
		all[i] = caller{userID(i), []byte("POST /v1/cart/items HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n" +
			"Authorization: Bearer " + token + "\r\nX-User: " + userID(i) + "\r\n")}
	}
	return all, nil
}

func dial(ctx context.Context, addr string) (*client, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &client{conn: conn, in: bufio.NewReaderSize(conn, 8<<10)}, nil
}

// add adds one copy of the book, with an Idempotency-Key unless it is "", and returns the entity tag of the answer. Only
// a 200 is no error. The tag is valid until the next call.
func (c *client) add(user caller, book, key string) (tag []byte, err error) {
	body := `{"bookId":"` + book + `","quantity":1}`
	c.out = append(c.out[:0], user.header...)
	if key != "" {
		c.out = append(append(append(c.out, "Idempotency-Key: "...), key...), "\r\n"...)
	}
	c.out = strconv.AppendInt(append(c.out, "Content-Length: "...), int64(len(body)), 10)
	c.out = append(append(c.out, "\r\n\r\n"...), body...)
	if _, err := c.conn.Write(c.out); err != nil {
		return nil, err
	}
	return c.answer("200")
}

// send sends the request as it is, and takes no other status for its answer.
func (c *client) send(request []byte, status string) (tag []byte, err error) {
	if _, err := c.conn.Write(request); err != nil {
		return nil, err
	}
	return c.answer(status)
}

var errAnswer = errors.New("unexpected answer")

func (c *client) answer(wanted string) (tag []byte, err error) {
	status, err := c.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	ok := len(status) > 12 && string(status[9:12]) == wanted
	first, length := "", -1
	if !ok {
		first = string(bytes.TrimSpace(status))
	}
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		name, value, more := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(": "))
		if !more {
			break
		}
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return nil, fmt.Errorf("%w: Content-Length %q", errAnswer, value)
			}
		case bytes.EqualFold(name, []byte("Etag")):
			c.out = append(c.out[:0], value...)
			tag = c.out
		}
	}
	if ok && wanted == "304" { // it has no body
		return tag, nil
	}
	switch {
	case length < 0:
		return nil, fmt.Errorf("%w: no Content-Length", errAnswer)
	case ok:
		_, err = c.in.Discard(length)
		return tag, err
	}
	body := make([]byte, min(length, 300))
	_, _ = c.in.Read(body)
	return nil, fmt.Errorf("%w: %s: %s", errAnswer, first, body)
}
