// Package deadletter is the parking lot: it indexes the letters of cart.dlq.v1 in MongoDB, says of each what a replay would
// do against the stores as they are now, resolves those that time has overtaken, and replays or discards the others when an
// operator asks.
package deadletter

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// Status is what became of a letter.
type Status string

const (
	// Parked letters wait for somebody, or for time to overtake them.
	Parked Status = "parked"
	// Replayed letters were done by their group at last.
	Replayed Status = "replayed"
	// Superseded letters tell nothing any more that the store doesn't have, or have newer.
	Superseded Status = "superseded"
	// Discarded letters were given up by an operator, for a reason.
	Discarded Status = "discarded"
)

// letter is a document of the index.
type letter struct {
	ID        string `bson:"_id"`
	Group     string `bson:"group"`
	Topic     string `bson:"topic"`
	Partition int64  `bson:"partition"`
	Offset    int64  `bson:"offset"`
	Key       []byte `bson:"key"`
	// UserID is whose cart it is about, "" for nobody's.
	UserID        string       `bson:"userId"`
	Class         string       `bson:"class"`
	Error         string       `bson:"error"`
	Attempts      int64        `bson:"attempts"`
	FirstFailedAt schemas.Time `bson:"firstFailedAt"`
	LastFailedAt  schemas.Time `bson:"lastFailedAt"`

	Status     Status        `bson:"status"`
	ResolvedAt *schemas.Time `bson:"resolvedAt"` // nil while parked
	Reason     string        `bson:"reason"`     // of a discarded one
	// Request is a replay that waits for the process that can do it; nil for none.
	Request *request `bson:"request"`
	// At is where the newest writing of it stands in the topic for dead letters, nil where it never was there.
	At *spot `bson:"at"`
	// Unwritten says that the topic didn't take it yet: this document is the only copy.
	Unwritten bool `bson:"unwritten"`
	// Revision grows by one with each change of the document.
	Revision int64 `bson:"revision"`

	Headers []header `bson:"headers"` // all of the record in the topic for dead letters
	Value   []byte   `bson:"value"`   // null for a null
}

type header struct {
	Name  []byte `bson:"name"`
	Value []byte `bson:"value"`
}

type spot struct {
	Partition int64 `bson:"partition"`
	Offset    int64 `bson:"offset"`
}

// request is a replay that was accepted by a process that can't do it itself.
type request struct {
	By    string       `bson:"by"`
	At    schemas.Time `bson:"at"`
	Entry string       `bson:"entry"` // of the audit trail
	// TakenUntil is how long the process that does it right now is waited for.
	TakenUntil schemas.Time `bson:"takenUntil"`
}

// longestText and longestError bound what is indexed of texts that others may have written.
const (
	longestText  = 255
	longestError = 2048
)

// parse reads a record of the topic for dead letters, or one on its way there. What can't be read of it is shown as far
// as it is known: its place is then the record's own.
func parse(rec *kgo.Record) letter {
	read, fault := runner.ReadLetter(rec)
	written := rec.Timestamp
	if written.IsZero() {
		written = time.Now()
	}
	l := letter{
		ID: read.ID, Group: text(read.Group, longestText), Topic: text(read.Record.Topic, longestText),
		Partition: int64(read.Record.Partition), Offset: read.Record.Offset, Key: rec.Key,
		Class: read.Class, Error: text(read.Message, longestError), Attempts: int64(read.Attempts),
		FirstFailedAt: schemas.At(read.FirstFailed), LastFailedAt: schemas.At(written),
		Status: Parked, Revision: 1, Value: rec.Value,
	}
	if l.Topic == "" || l.Partition < 0 || l.Offset < 0 {
		l.Topic, l.Partition, l.Offset = rec.Topic, int64(rec.Partition), rec.Offset
	}
	if fault != nil && l.Error == "" {
		l.Error = "not a letter of ours: " + strings.ReplaceAll(fault.Error(), "\n", "; ")
	}
	switch l.Class {
	case runner.ClassUndecodable, runner.ClassRejected, runner.ClassExhausted:
	default:
		l.Class = runner.ClassUndecodable
	}
	if read.FirstFailed.IsZero() {
		l.FirstFailedAt = l.LastFailedAt
	}
	if !schemas.ValidID(l.ID) {
		l.ID = foreignID(l)
	}
	for _, h := range rec.Headers {
		l.Headers = append(l.Headers, header{[]byte(h.Key), h.Value})
	}
	if user := string(rec.Key); l.Topic != schemas.BookEvents && schemas.ValidID(user) {
		l.UserID = user
	}
	return l
}

// foreignID names a letter that has no name: one for each group that failed the record.
func foreignID(l letter) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d\x00%d", l.Group, l.Topic, l.Partition, l.Offset))
	return hex.EncodeToString(sum[:16])
}

// text is s as UTF-8 of at most longest bytes.
func text(s string, longest int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > longest {
		s = strings.ToValidUTF8(s[:longest], "") // the cut may fall within a rune
	}
	return s
}

// record is the letter as the topic for dead letters holds it, or will.
func (l *letter) record() *kgo.Record {
	r := &kgo.Record{Topic: schemas.CartDLQ, Key: l.Key, Value: l.Value, Timestamp: l.LastFailedAt.Time}
	for _, h := range l.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: string(h.Name), Value: h.Value})
	}
	return r
}

// header is the last value of that name, "" for none.
func (l *letter) header(name string) (value string) {
	for _, h := range l.Headers {
		if string(h.Name) == name {
			value = string(h.Value)
		}
	}
	return value
}

// fold brings the letter up to another writing of it, and reports whether that changed anything. A writing with more
// attempts, or one later than the letter's end, says that the record failed again: the letter is open again. Any other is
// a repeat.
func (l *letter) fold(n letter) (changed bool) {
	if n.At != nil && (l.At == nil || l.Unwritten) {
		l.At, l.Unwritten, changed = n.At, l.Unwritten && n.Attempts < l.Attempts, true
	}
	if n.FirstFailedAt.Before(l.FirstFailedAt.Time) {
		l.FirstFailedAt, changed = n.FirstFailedAt, true
	}
	again := n.Attempts > l.Attempts || l.ResolvedAt != nil && n.LastFailedAt.After(l.ResolvedAt.Time)
	if !again {
		return changed
	}
	l.Attempts = max(l.Attempts, n.Attempts)
	if n.LastFailedAt.After(l.LastFailedAt.Time) {
		l.LastFailedAt = n.LastFailedAt
	}
	l.Class, l.Error, l.Headers, l.Unwritten = n.Class, n.Error, n.Headers, n.Unwritten
	if n.At != nil {
		l.At = n.At
	}
	l.Status, l.ResolvedAt, l.Reason = Parked, nil, ""
	return true
}

// resolve ends the letter.
func (l *letter) resolve(as Status, at schemas.Time, reason string) {
	l.Status, l.ResolvedAt, l.Reason = as, &at, reason
}
