package parking

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/consumers/runner"
)

// A letter in the file is a frame: the payload's length and its CRC-32C, four bytes each, big-endian, and the payload, JSON.

const (
	headerBytes = 8
	// maxPayload is more than the largest letter, 5 MiB, takes in base64.
	maxPayload = 16 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// content is what a payload says.
type content struct {
	Topic   string   `json:"topic"`
	Key     []byte   `json:"key"`   // null where it was
	Value   []byte   `json:"value"` // null where it was
	Headers []header `json:"headers"`
}

type header struct {
	Key   []byte `json:"key"` // what isn't UTF-8 stays as it is
	Value []byte `json:"value"`
}

// frame is where a letter stands in the file.
type frame struct {
	at, size int64
	name     name
}

// name tells a letter from every other one: its id, and the checksum, since a letter comes again when a replay fails.
type name struct {
	id  string
	sum uint32
}

func nameOf(l *kgo.Record, framed []byte) name {
	return name{idOf(l), binary.BigEndian.Uint32(framed[4:])}
}

// encode returns the letter's frame.
func encode(l *kgo.Record) ([]byte, error) {
	c := content{Topic: l.Topic, Key: l.Key, Value: l.Value, Headers: make([]header, len(l.Headers))}
	for i, h := range l.Headers {
		c.Headers[i] = header{[]byte(h.Key), h.Value}
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode letter: %w", err)
	}
	if len(payload) > maxPayload {
		return nil, fmt.Errorf("a letter of %d bytes is larger than any that Kafka takes", len(payload))
	}
	framed := make([]byte, headerBytes, headerBytes+len(payload))
	binary.BigEndian.PutUint32(framed, uint32(len(payload))) //nolint:gosec // at most maxPayload
	binary.BigEndian.PutUint32(framed[4:], crc32.Checksum(payload, castagnoli))
	return append(framed, payload...), nil
}

var (
	// errTorn: what follows is no whole frame.
	errTorn = errors.New("no whole frame")
	// errDamaged: a whole frame, but not what was written.
	errDamaged = errors.New("damaged frame")
)

// next reads one frame. The error is errTorn, errDamaged, io.EOF at the end, or one of the reader's. Of a damaged frame the
// size is known.
func next(r io.Reader, at int64) (frame, *kgo.Record, error) {
	var head [headerBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errTorn
		}
		return frame{}, nil, err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length == 0 || length > maxPayload { // zeros are what some file systems leave of a write that a crash cut short
		return frame{}, nil, errTorn
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(r, payload); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			err = errTorn
		}
		return frame{}, nil, err
	}
	f := frame{at: at, size: headerBytes + int64(length)}
	sum := binary.BigEndian.Uint32(head[4:])
	var c content
	if crc32.Checksum(payload, castagnoli) != sum || json.Unmarshal(payload, &c) != nil {
		return f, nil, errDamaged
	}
	l := &kgo.Record{Topic: c.Topic, Key: c.Key, Value: c.Value, Headers: make([]kgo.RecordHeader, len(c.Headers))}
	for i, h := range c.Headers {
		l.Headers[i] = kgo.RecordHeader{Key: string(h.Key), Value: h.Value}
	}
	f.name = name{idOf(l), sum}
	return f, l, nil
}

// idOf returns the letter's id.
func idOf(l *kgo.Record) string {
	for i := len(l.Headers) - 1; i >= 0; i-- { // the letter's own headers are the last
		if l.Headers[i].Key == runner.HeaderID {
			return string(l.Headers[i].Value)
		}
	}
	return ""
}
