package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The headers that a dead letter adds to those of the original record. Their values are UTF-8.
const (
	HeaderTopic       = "__dlq.errors.topic"
	HeaderPartition   = "__dlq.errors.partition"
	HeaderOffset      = "__dlq.errors.offset"
	HeaderGroup       = "__dlq.errors.group"
	HeaderAttempts    = "__dlq.errors.delivery.count" // how often the group tried the record, at least 1
	HeaderMessage     = "__dlq.errors.message"        // at most 1,024 bytes
	HeaderID          = "dlq.id"
	HeaderClass       = "dlq.class"
	HeaderFirstFailed = "dlq.first-failed-at" // RFC 3339, UTC, milliseconds
)

const maxMessage = 1024

// failure is a record that is given up, and why.
type failure struct {
	record   *kgo.Record
	class    string
	err      error
	attempts int
	first    time.Time
	past     *Letter // the letter that was replayed, where this is a failure of a replay
	stored   bool    // the Parker has its letter
}

// id names the failure's letter.
func (f failure) id(group string) string {
	if f.past != nil {
		return f.past.ID
	}
	return LetterID(group, f.record)
}

// LetterID names the dead letter of a record for a group. The same record always gets the same id, so that a letter that
// was written twice is recognised; a record at the same offset of a topic that was deleted and made anew gets another.
func LetterID(group string, rec *kgo.Record) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d\x00%d\x00%d",
		group, rec.Topic, rec.Partition, rec.Offset, rec.Timestamp.UnixMilli()))
	return hex.EncodeToString(sum[:16])
}

// letter returns the dead letter: the original key, value and headers, untouched, and the headers that say what happened.
// That of a replay is the same letter again, with all attempts so far.
func (f failure) letter(group, topic string) *kgo.Record {
	attempts, first := f.attempts, f.first
	if f.past != nil {
		attempts, first = attempts+f.past.Attempts, f.past.FirstFailed
	}
	added := []kgo.RecordHeader{
		header(HeaderTopic, f.record.Topic),
		header(HeaderPartition, strconv.Itoa(int(f.record.Partition))),
		header(HeaderOffset, strconv.FormatInt(f.record.Offset, 10)),
		header(HeaderGroup, group),
		header(HeaderAttempts, strconv.Itoa(attempts)),
		header(HeaderMessage, message(f.err)),
		header(HeaderID, f.id(group)),
		header(HeaderClass, f.class),
		header(HeaderFirstFailed, first.UTC().Format("2006-01-02T15:04:05.000Z")),
	}
	headers := make([]kgo.RecordHeader, 0, len(f.record.Headers)+len(added))
	return &kgo.Record{
		Topic: topic, Key: f.record.Key, Value: f.record.Value,
		Headers: append(append(headers, f.record.Headers...), added...),
	}
}

func header(key, value string) kgo.RecordHeader {
	return kgo.RecordHeader{Key: key, Value: []byte(value)}
}

// message is the error's text as valid UTF-8, cut where it is too long.
func message(err error) string {
	text := strings.ToValidUTF8(err.Error(), "\uFFFD")
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") // the cut may fall within a rune
	}
	return text
}

// Parker stores dead letters where they survive, all of them before it returns nil. Until then the partition waits and
// Park is called again with the same letters, so one may be stored twice, under the same HeaderID.
type Parker interface {
	Park(ctx context.Context, letters []*kgo.Record) error
}
