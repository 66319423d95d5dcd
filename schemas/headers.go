package schemas

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
)

// Header is one header of a record.
type Header struct{ Key, Value string }

// The names of the headers that every record carries (CloudEvents 1.0, binary content mode of the Kafka binding), and of
// the two that a keyed request adds.
const (
	HeaderSpecVersion = "ce_specversion"
	HeaderID          = "ce_id"
	HeaderSource      = "ce_source"
	HeaderType        = "ce_type"
	HeaderTime        = "ce_time"
	HeaderSubject     = "ce_subject"
	HeaderContentType = "content-type"
	HeaderTraceParent = "traceparent"
	HeaderIdempotency = "x-idempotency"
	HeaderRequest     = "x-request"
)

// Source is the ce_source of every record.
const Source = "/cartstream"

// StateType and ReminderType are the ce_type of records in CartState and CartReminders.
const (
	StateType    = "cart.state"
	ReminderType = "cart.reminder"
)

// CartVersionID is the ce_id of whatever concerns one version of a cart, so that consumers can drop duplicates.
func CartVersionID(userID string, epoch, version int64) string {
	var room [128]byte // one allocation, not one a part
	b := append(append(room[:0], userID...), ':')
	b = append(strconv.AppendInt(b, epoch, 10), ':')
	return string(strconv.AppendInt(b, version, 10))
}

// Headers returns the headers of a record. An empty traceParent is replaced by a new root, since every record has one.
func Headers(id, kind, subject string, at Time, traceParent string) []Header {
	return appendHeaders(make([]Header, 0, 8), id, kind, subject, at, traceParent)
}

func appendHeaders(to []Header, id, kind, subject string, at Time, traceParent string) []Header {
	if traceParent == "" {
		traceParent = NewTraceParent()
	}
	return append(to,
		Header{HeaderSpecVersion, "1.0"},
		Header{HeaderID, id},
		Header{HeaderSource, Source},
		Header{HeaderType, kind},
		Header{HeaderTime, at.String()},
		Header{HeaderSubject, subject},
		Header{HeaderContentType, "application/json"},
		Header{HeaderTraceParent, traceParent})
}

// Headers returns the headers of the change's record.
func (c CartChanged) Headers(traceParent string) []Header { return c.AppendHeaders(nil, traceParent) }

// AppendHeaders appends the headers of the change's record.
func (c *CartChanged) AppendHeaders(to []Header, traceParent string) []Header {
	kind, known := changeTypes[c.Type]
	if !known {
		kind = "cart." + string(c.Type)
	}
	return appendHeaders(to, CartVersionID(c.UserID, c.Epoch, c.Version), kind, c.UserID, c.OccurredAt, traceParent)
}

// changeTypes are the ce_type of the changes there are, put together once.
var changeTypes = func() map[EventType]string {
	types := map[EventType]string{}
	for _, t := range []EventType{ItemAdded, ItemSet, ItemRemoved, ItemAcknowledged, Cleared, BookChangedInCart, Restored} {
		types[t] = "cart." + string(t)
	}
	return types
}()

// Headers returns the headers of the change's record.
func (b BookChanged) Headers(traceParent string) []Header {
	id := b.BookID + ":" + strconv.FormatInt(b.Version, 10)
	return Headers(id, "book."+string(b.Type), b.BookID, b.OccurredAt, traceParent)
}

// NewTraceParent returns a W3C trace context of a new, unsampled trace.
func NewTraceParent() string {
	var b [24]byte
	for i := 0; i < len(b); i += 8 {
		binary.NativeEndian.PutUint64(b[i:], rand.Uint64()) //nolint:gosec // it tells requests apart and guards nothing
	}
	text := append(make([]byte, 0, 55), "00-"...)
	text = append(hex.AppendEncode(text, b[:16]), '-')
	return string(append(hex.AppendEncode(text, b[16:]), "-00"...))
}
