package schemas

import "fmt"

// Reminder is the value in cart.reminders.v1: a cart with lines that its user left alone. Epoch and Version are those of
// the user's own last change, and IdleSince is when that was; what books did to the cart since doesn't count. There is one
// for each such change at most, but for repeats after a loss of Redis.
type Reminder struct {
	UserID    string `json:"userId"`
	Epoch     int64  `json:"epoch"`
	Version   int64  `json:"version"`
	IdleSince Time   `json:"idleSince"`
}

// Headers returns the headers of the reminder's record.
func (r Reminder) Headers(traceParent string, at Time) []Header {
	return Headers(CartVersionID(r.UserID, r.Epoch, r.Version), ReminderType, r.UserID, at, traceParent)
}

// EncodeReminder returns the reminder as JSON. The same reminder always gives the same bytes.
func EncodeReminder(r Reminder) []byte { return encode(r) }

// DecodeReminder reads a value of cart.reminders.v1, under the same rules as DecodeCartChanged.
func DecodeReminder(b []byte) (Reminder, error) {
	var r Reminder
	if err := decode(b, &r); err != nil {
		return Reminder{}, err
	}
	if !ValidID(r.UserID) || r.Epoch < 0 || r.Version < 1 || r.IdleSince.IsZero() {
		return Reminder{}, fmt.Errorf("%w: reminder of %q at epoch %d, version %d", ErrMalformed, r.UserID, r.Epoch, r.Version)
	}
	return r, nil
}
