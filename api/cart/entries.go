package cart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"cartstream/schemas"
)

// What a drain reads is taken as Redis sends it: go-redis's own form of a stream's entry is a map of interfaces, which
// takes longer to make than all that the relay does with it.

// replies are the buffers of reads that are over.
var replies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// keptReply is the largest buffer that is kept for the next read.
const keptReply = 4 << 20

// readStreams sends an XREAD and hands the entries of each stream that has any to found, in Redis's order. What found gets
// is the caller's only until it returns. Its error ends the read.
func readStreams(ctx context.Context, client *redis.Client, args []any, found func(stream []byte, entries []streamEntry) error) error {
	buffer, _ := replies.Get().(*bytes.Buffer)
	defer func() {
		if buffer.Cap() <= keptReply {
			replies.Put(buffer)
		}
	}()
	buffer.Reset()
	if err := client.DoRawWriteTo(ctx, buffer, args...).Err(); err != nil && !errors.Is(err, redis.Nil) {
		return err
	}
	return eachStream(buffer.Bytes(), found)
}

// eachStream takes an XREAD's reply apart.
func eachStream(reply []byte, found func(stream []byte, entries []streamEntry) error) error {
	r := &resp{rest: reply}
	if len(r.rest) > 0 && r.rest[0] == '-' {
		text, _, _ := bytes.Cut(r.rest[1:], []byte("\r\n"))
		return errors.New(string(text))
	}
	var entries []streamEntry
	for range r.streams() {
		stream := r.text()
		entries = entries[:0]
		for range r.count('*') {
			r.count('*') // id and fields
			e := streamEntry{id: r.text()}
			for range r.count('*') / 2 {
				e.kind, e.value = r.text(), r.text()
			}
			entries = append(entries, e)
		}
		if r.err != nil {
			return r.err
		}
		if err := found(stream, entries); err != nil {
			return err
		}
	}
	return r.err
}

// streamEntry is an outbox's entry: its one field names its kind.
type streamEntry struct{ id, kind, value []byte }

// resp reads a reply of Redis, version 2 or 3 of its protocol, and remembers the first thing that was wrong.
type resp struct {
	rest []byte
	err  error
}

// count reads how many elements, or bytes, follow. Nothing counts as none.
func (r *resp) count(kind byte) int {
	line, rest, whole := bytes.Cut(r.rest, []byte("\r\n"))
	if r.err != nil {
		return 0
	}
	if !whole || len(line) < 2 || line[0] != kind {
		r.err = fmt.Errorf("reply can't be read at %.40q", r.rest)
		return 0
	}
	n := 0
	for _, c := range line[1:] {
		if c < '0' || c > '9' || n > len(r.rest) {
			r.err = fmt.Errorf("reply can't be read at %.40q", r.rest)
			return 0
		}
		n = 10*n + int(c-'0')
	}
	r.rest = rest
	return n
}

// text reads a text, whatever bytes it holds.
func (r *resp) text() []byte {
	n := r.count('$')
	if r.err == nil && len(r.rest) < n+2 {
		r.err = fmt.Errorf("reply ends within %d bytes", n)
	}
	if r.err != nil {
		return nil
	}
	text := r.rest[:n]
	r.rest = r.rest[n+2:]
	return text
}

// streams reads how many streams follow, and yields before each. There are none where Redis waited in vain.
func (r *resp) streams() func(func(int) bool) {
	return func(yield func(int) bool) {
		if len(r.rest) == 0 || r.rest[0] == '_' || bytes.HasPrefix(r.rest, []byte("*-1")) {
			return
		}
		pairs := r.rest[0] == '*' // in version 3 they are a map
		n := r.count(r.rest[0])
		for i := range n {
			if pairs {
				r.count('*')
			}
			if r.err != nil || !yield(i) {
				return
			}
		}
	}
}

// entriesOf returns one stream's entries. What they hold lies side by side: allocated one by one, it would be most of what
// a drain allocates. After an error the ones before are returned.
func entriesOf(found []streamEntry, currency string) ([]schemas.OutboxEntry, error) {
	size := 0
	for _, e := range found {
		size += len(e.id) + len(e.value)
	}
	var text strings.Builder
	text.Grow(size)
	for _, e := range found {
		text.Write(e.id)
		text.Write(e.value)
	}
	rest := text.String()
	entries := make([]schemas.OutboxEntry, 0, len(found))
	room := &entryRoom{headers: make([]schemas.Header, 0, len(found)*headersPerEntry)}
	for _, e := range found {
		id, value := rest[:len(e.id)], rest[len(e.id):len(e.id)+len(e.value)]
		rest = rest[len(e.id)+len(e.value):]
		entry, err := readEntry(id, string(e.kind), value, currency, room)
		if err != nil {
			return entries, err
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

const (
	headersPerEntry = 8        // but for keyed requests
	valuesChunk     = 16 << 10 // bytes
)

// entryRoom is where entries of one stream have their headers and values.
type entryRoom struct {
	headers []schemas.Header
	values  []byte
	lines   []schemas.Line // of the newest change
}

// value returns the change as JSON.
func (m *entryRoom) value(c *schemas.CartChanged, about int) []byte {
	if cap(m.values)-len(m.values) < about {
		m.values = make([]byte, 0, max(valuesChunk, about))
	}
	from := len(m.values)
	m.values = schemas.AppendCartChanged(m.values, c)
	return m.values[from:len(m.values):len(m.values)]
}

// readEntry reads an outbox entry.
func readEntry(id, kind, value, currency string, room *entryRoom) (schemas.OutboxEntry, error) {
	if kind == "reminder" {
		return readReminder(id, value)
	}
	return readChange(id, value, currency, room)
}

// readReminder reads "<user> <traceparent> <epoch> <version> <idle since> <when it was queued>".
func readReminder(id, value string) (schemas.OutboxEntry, error) {
	r := &reader{rest: value}
	user, trace := r.word(), r.word()
	m := schemas.Reminder{UserID: user, Epoch: r.number(), Version: r.number(), IdleSince: schemas.Milliseconds(r.number())}
	at := schemas.Milliseconds(r.number())
	if r.err != nil {
		return schemas.OutboxEntry{}, fmt.Errorf("outbox entry %s: %w", id, r.err)
	}
	return schemas.OutboxEntry{
		ID: id, Topic: schemas.CartReminders, Key: user, Value: schemas.EncodeReminder(m), Headers: m.Headers(trace, at),
	}, nil
}

// readChange reads "<user> <traceparent> <key hash> <request hash> <change>".
func readChange(id, value, currency string, room *entryRoom) (schemas.OutboxEntry, error) {
	r := &reader{rest: value, lines: room.lines}
	user, trace, key, request := r.word(), r.word(), r.word(), r.word()
	c := r.change(user, currency)
	if r.err != nil {
		return schemas.OutboxEntry{}, fmt.Errorf("outbox entry %s: %w", id, r.err)
	}
	room.lines = c.Items[:0]
	from := len(room.headers)
	room.headers = c.AppendHeaders(room.headers, trace)
	if key != "-" {
		room.headers = append(room.headers,
			schemas.Header{Key: schemas.HeaderIdempotency, Value: key},
			schemas.Header{Key: schemas.HeaderRequest, Value: request})
	}
	return schemas.OutboxEntry{
		ID: id, Topic: schemas.CartEvents, Key: user, Value: room.value(&c, schemas.ChangeBytes(&c)),
		Headers: room.headers[from:len(room.headers):len(room.headers)],
	}, nil
}

// xread is the command that reads the streams after the ids. Without block, in milliseconds, of at least 1 it doesn't wait.
func xread(limit int, block int64, streams, ids []string) []any {
	args := make([]any, 0, 6+len(streams)+len(ids))
	args = append(args, "xread", "count", strconv.Itoa(limit))
	if block > 0 {
		args = append(args, "block", strconv.FormatInt(block, 10))
	}
	args = append(args, "streams")
	for _, s := range streams {
		args = append(args, s)
	}
	for _, id := range ids {
		args = append(args, id)
	}
	return args
}
