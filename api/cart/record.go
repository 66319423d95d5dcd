package cart

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"cartstream/schemas"
)

// Record is a cart that recovery brings up to what Kafka has.
type Record struct {
	schemas.Cart
	own      schemas.CartChanged // the user's own last change: epoch, version and time
	reminded bool
	answers  []keptAnswer
	held     []string // fields that the shard has of it: lines, and the user's own last change
	touched  bool
}

// Apply brings the cart up to a change, by the rule that all consumers follow. What was kept of the request that made it
// comes back with it: key and request are the hashes in the record's headers, "" where it had none, and keep is how long an
// answer is kept.
func (r *Record) Apply(c schemas.CartChanged, key, request string, keep time.Duration) schemas.Outcome {
	outcome := r.Cart.Apply(c)
	if outcome == schemas.Stale {
		return outcome
	}
	r.touched = true
	if outcome == schemas.Gap {
		return outcome
	}
	if c.Type != schemas.BookChangedInCart && c.Type != schemas.Restored || r.own.Version == 0 {
		r.own, r.reminded = c, false
	}
	if key != "" {
		// The change is in Kafka: nobody has to wait for it to be relayed.
		r.answers = append(r.answers, keptAnswer{key, request + " 0-0 " + compactChange(c), c.OccurredAt.Add(keep)})
	}
	return outcome
}

// Store brings the cart up to its copy in MongoDB, where that is newer. The copy's last change stands for the user's own.
func (r *Record) Store(c schemas.Cart) {
	if !schemas.Newer(c.Epoch, c.Version, r.Epoch, r.Version) {
		return
	}
	r.Cart, r.reminded, r.touched = c, false, true
	r.own = schemas.CartChanged{Epoch: c.Epoch, Version: c.Version}
	if c.UpdatedAt != nil {
		r.own.OccurredAt = *c.UpdatedAt
	}
}

// Touched reports whether Kafka or MongoDB had something that the shard did not have.
func (r *Record) Touched() bool { return r.touched }

// compactChange is a change as scripts answer it.
func compactChange(c schemas.CartChanged) string {
	var b strings.Builder
	whole := "0"
	if c.Whole {
		whole = "1"
	}
	fmt.Fprintf(&b, "%d %d %s %s %d %d %d %d", c.Epoch, c.Version, c.Type, whole, c.OccurredAt.UnixMilli(),
		c.TotalAmount, c.TotalQuantity, c.LineCount)
	for i, l := range c.Items {
		b.WriteString(lineSeparator + l.BookID + " " + compactLine(l, i+1))
	}
	return b.String()
}

// readRecord reads the fields and values of a cart's hash.
func readRecord(user, currency string, fields []any) (*Record, error) {
	c, err := readContact(user, currency, fields)
	if err != nil {
		return nil, err
	}
	r := &Record{Cart: c.Cart, own: schemas.CartChanged{Epoch: c.Epoch, Version: c.Version, OccurredAt: c.At}}
	for i := 0; i+1 < len(fields); i += 2 {
		switch field, _ := fields[i].(string); field {
		case headField:
			head, _ := fields[i+1].(string)
			r.reminded = strings.HasSuffix(head, " r")
		case addressField:
		default:
			r.held = append(r.held, field)
		}
	}
	return r, nil
}

// arguments appends to argv what bring.lua needs of the cart.
func (r *Record) arguments(argv []any, now time.Time, idle int64) []any {
	var updated int64
	if r.UpdatedAt != nil {
		updated = r.UpdatedAt.UnixMilli()
	}
	marker, at := "-", r.own.OccurredAt.UnixMilli()
	switch {
	case r.reminded:
		marker = "r"
	case r.own.Epoch != r.Epoch || r.own.Version != r.Version:
		marker = "o"
	}
	argv = append(argv, r.UserID, "", 0, 0, 0, 0)
	counts := argv[len(argv)-5:]
	if !r.reminded {
		counts[0] = at - at%idle
	}
	begin := len(argv)
	for _, a := range r.answers {
		if left := a.until.Sub(now); left > 0 {
			argv = append(argv, a.hash, a.value, left.Milliseconds()+1)
		}
	}
	kept := len(argv)
	for _, field := range r.held {
		if field == ownField && marker == "-" || field != ownField && !slices.ContainsFunc(r.Items, func(l schemas.Line) bool { return l.BookID == field }) {
			argv = append(argv, field)
		}
	}
	gone := len(argv)
	argv = append(argv, headField, compactHead(r.Cart, updated, marker))
	if marker != "-" {
		argv = append(argv, ownField, numbers(r.own.Epoch, r.own.Version, at))
	}
	notLines := len(argv) - gone
	for i, l := range r.Items {
		argv = append(argv, l.BookID, compactLine(l, i+1))
	}
	counts = argv[begin-4 : begin] // argv may have moved
	counts[0], counts[1], counts[2], counts[3] = kept-begin, gone-kept, len(argv)-gone, notLines
	return argv
}
