package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
)

// writes lets one write command at a time through to FerretDB 1, which reads the documents to update and writes them
// back in two steps: without it two conditional updates of one version both succeed, and one is lost. MongoDB and
// DocumentDB need nothing like it.
type writes struct {
	behind string        // FerretDB's address
	turn   chan struct{} // of capacity 1; full while a write runs
}

// serve passes each connection on, until the listener is closed.
func (w *writes) serve(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		go w.pass(client)
	}
}

func (w *writes) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := new(net.Dialer).DialContext(context.Background(), "tcp", w.behind)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()

	c := &connection{turn: w.turn, answered: make(chan struct{}, 1), gone: make(chan struct{})}
	go func() {
		_ = c.answers(client, server)
		close(c.gone)
		_ = client.Close() // ends requests
	}()
	_ = c.requests(client, server)
	// A write of a client that left runs to its end, as MongoDB's do; FerretDB would break it off.
	if c.writing() {
		select {
		case <-c.answered:
		case <-c.gone:
		}
	}
	_ = server.Close()
	<-c.gone
	c.release()
}

// connection is one of a client's.
type connection struct {
	turn     chan struct{}
	answered chan struct{} // gets one when a write was
	gone     chan struct{} // closed when FerretDB hung up

	mu      sync.Mutex
	holding bool  // the turn
	request int32 // that holds it
}

func (c *connection) requests(client io.Reader, server io.Writer) error {
	for {
		m, err := readMessage(client)
		if err != nil {
			return err
		}
		if m.isWrite() {
			select {
			case c.turn <- struct{}{}:
			case <-c.gone:
				return net.ErrClosed
			}
			select {
			case <-c.answered: // the write before
			default:
			}
			c.mu.Lock()
			c.holding, c.request = true, m.id()
			c.mu.Unlock()
		}
		if _, err := server.Write(m); err != nil {
			return err
		}
	}
}

func (c *connection) answers(client io.Writer, server io.Reader) error {
	var lost error // a client that left gets no answers, but they are awaited
	for {
		m, err := readMessage(server)
		if err != nil {
			return errors.Join(err, lost)
		}
		c.mu.Lock()
		if c.holding && m.answers() == c.request {
			c.holding = false
			<-c.turn
			select {
			case c.answered <- struct{}{}:
			default:
			}
		}
		c.mu.Unlock()
		m.limitBatch()
		if lost == nil {
			_, lost = client.Write(m)
		}
	}
}

func (c *connection) writing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.holding
}

func (c *connection) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.holding {
		c.holding = false
		<-c.turn
	}
}

// message of the MongoDB wire protocol: length, id, the id that it answers, the kind, then the rest; little-endian.
type message []byte

const (
	headerSize = 16
	largest    = 48 << 20 // what MongoDB allows
	opMsg      = 2013
	moreToCome = 1 << 1 // no answer will come

	// FerretDB 1 keeps a cursor, and so one of its 100 connections to SQLite, for each update of a command until the command
	// ends: one of 100 updates would wait for ever, and everything else with it.
	maxWrites    = 50
	largestHello = 4 << 10 // bytes
)

func readMessage(r io.Reader) (message, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n < headerSize || n > largest {
		return nil, errors.New("no message of the MongoDB wire protocol")
	}
	m := make(message, n)
	copy(m, size[:])
	_, err := io.ReadFull(r, m[4:])
	return m, err
}

func (m message) number(at int) int32 { return int32(binary.LittleEndian.Uint32(m[at:])) } //nolint:gosec // the wire's own type

func (m message) id() int32      { return m.number(4) }
func (m message) answers() int32 { return m.number(8) }

// limitBatch makes the answer to a hello ask for commands of at most maxWrites writes, which drivers split their bulks by.
func (m message) limitBatch() {
	if len(m) > largestHello {
		return
	}
	name := []byte("\x10maxWriteBatchSize\x00") // an int32 of that name
	if at := bytes.Index(m, name); at >= 0 && at+len(name)+4 <= len(m) {
		binary.LittleEndian.PutUint32(m[at+len(name):], maxWrites)
	}
}

// isWrite reports whether the message is a command that changes documents and will be answered. Its name is that of the
// first field of the document that follows the flags and the kind of the section, 0.
func (m message) isWrite() bool {
	const section, name = headerSize + 4, headerSize + 4 + 1 + 4 + 1
	if len(m) <= name || m.number(12) != opMsg || m.number(headerSize)&moreToCome != 0 || m[section] != 0 {
		return false
	}
	command := m[name:]
	for i, b := range command {
		if b != 0 {
			continue
		}
		switch string(command[:i]) {
		case "insert", "update", "delete", "findAndModify", "findandmodify":
			return true
		}
		return false
	}
	return false
}
