package schemas

import (
	"encoding/binary"
	"fmt"
	"time"
)

// timeLayout is RFC 3339 with exactly three fractional digits, so that the same instant always has the same text.
const timeLayout = "2006-01-02T15:04:05.000Z"

// Time is an instant in UTC with a resolution of one millisecond. It is RFC 3339 text with three fractional digits in
// JSON and a date in BSON; both keep the whole value.
type Time struct{ time.Time }

// Milliseconds returns the Time that lies ms milliseconds after the Unix epoch.
func Milliseconds(ms int64) Time { return Time{time.UnixMilli(ms).UTC()} }

// At returns t cut to whole milliseconds, in UTC.
func At(t time.Time) Time { return Milliseconds(t.UnixMilli()) }

// String returns the text that JSON carries, without its quotes.
func (t Time) String() string { return string(t.append(make([]byte, 0, len(timeLayout)))) }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	return appendTime(make([]byte, 0, len(timeLayout)+2), t), nil
}

// UnmarshalJSON accepts any RFC 3339 time and cuts it to milliseconds.
func (t *Time) UnmarshalJSON(b []byte) error {
	var std time.Time
	if err := std.UnmarshalJSON(b); err != nil {
		return fmt.Errorf("time: %w", err)
	}
	*t = At(std)
	return nil
}

// bsonDate is the type byte of a date in BSON: milliseconds since the Unix epoch, as a little-endian int64.
const bsonDate = 0x09

// MarshalBSONValue implements the MongoDB driver's bson.ValueMarshaler.
func (t Time) MarshalBSONValue() (byte, []byte, error) {
	// The cast keeps the two's complement that BSON wants for times before 1970.
	return bsonDate, binary.LittleEndian.AppendUint64(nil, uint64(t.UnixMilli())), nil //nolint:gosec // see above
}

// UnmarshalBSONValue implements the MongoDB driver's bson.ValueUnmarshaler. It refuses what is no date.
func (t *Time) UnmarshalBSONValue(kind byte, b []byte) error {
	if kind != bsonDate || len(b) != 8 {
		return fmt.Errorf("time: BSON type 0x%02x of %d bytes is no date", kind, len(b))
	}
	*t = Milliseconds(int64(binary.LittleEndian.Uint64(b))) //nolint:gosec // the counterpart of MarshalBSONValue
	return nil
}
