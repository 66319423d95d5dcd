package cart

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cartstream/schemas"
)

// aWeek is how long a cart is left alone before its user is reminded, unless Options say otherwise.
const aWeek = 7 * 24 * time.Hour

// idleWindow is the width of the idle index's windows in milliseconds: an hour, where carts may rest for a week.
func (s *Store) idleWindow() int64 {
	after := s.RemindAfter
	if after == 0 {
		after = aWeek
	}
	return max(1, after.Milliseconds()/168)
}

// RemindIdle looks at up to limit carts of the shard whose user's own last change was at least idle ago, those that were
// left alone for longest first. One that holds lines, and that wasn't reminded of since that change, is marked, and its
// reminder appended to the outbox in the same step: it is neither doubled nor lost. It returns how many it looked at, none
// of which it will look at again before its user changes it, and how many it reminds of. Call it while looked is limit.
//
// A change is found once the window it fell into, idle/168 wide, is past, so up to that much later. The error is an
// *Unavailable.
func (s *Store) RemindIdle(ctx context.Context, shard int, idle time.Duration, limit int) (looked, reminded int, err error) {
	keys := []string{s.nodes.generation(shard), s.nodes.idle(shard), s.nodes.outbox(shard)}
	now := time.Now()
	_, answer, err := s.run(ctx, shard, scriptRemind, keys, now.Add(-idle).UnixMilli(), limit, s.idleWindow(),
		now.UnixMilli(), schemas.NewTraceParent())
	word, rest := split(answer)
	if err == nil && word == "ok" {
		a, b, _ := strings.Cut(rest, " ")
		if looked, err = strconv.Atoi(a); err == nil {
			reminded, err = strconv.Atoi(b)
		}
	} else if err == nil {
		err = fmt.Errorf("script answered %v", answer)
	}
	if err != nil {
		return 0, 0, unavailable("", fmt.Errorf("find idle carts of shard %d: %w", shard, err))
	}
	return looked, reminded, nil
}

// Contact is a cart with what a reminder needs to know besides.
type Contact struct {
	// Epoch and Version are those of the user's own last change, and At is when that was; what books did to the cart since
	// doesn't count.
	Epoch, Version int64
	At             schemas.Time
	// Email is where the user wants mail, "" where that isn't known. It belongs in no log.
	Email string
	Cart  schemas.Cart
}

// Contact returns the user's cart with their own last change and address; of a user without a cart all but the cart's user
// is zero. Its errors are those of Get.
func (s *Store) Contact(ctx context.Context, user string) (Contact, error) {
	_, fields, err := s.fields(ctx, user)
	if err != nil {
		return Contact{}, err
	}
	return readContact(user, s.Currency, fields)
}

// readContact reads the fields and values of a cart's hash.
func readContact(user, currency string, fields []any) (Contact, error) {
	c, err := readCart(user, currency, fields)
	if err != nil {
		return Contact{}, err
	}
	contact := Contact{Epoch: c.Epoch, Version: c.Version, Cart: c}
	if c.UpdatedAt != nil {
		contact.At = *c.UpdatedAt
	}
	for i := 0; i+1 < len(fields); i += 2 {
		value, _ := fields[i+1].(string)
		switch fields[i] {
		case addressField:
			contact.Email = value
		case ownField:
			r := &reader{rest: value}
			contact.Epoch, contact.Version, contact.At = r.number(), r.number(), schemas.Milliseconds(r.number())
			if r.err != nil {
				return Contact{}, fmt.Errorf("cart of %s, its user's last change: %w", user, r.err)
			}
		}
	}
	return contact, nil
}
