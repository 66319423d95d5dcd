package live

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// watch is one user with sockets on this gateway. They share the subscription and the bytes of every change.
type watch struct {
	user      string
	slot      int             // of Gateway.visits
	confirmed <-chan struct{} // closed once the user is subscribed
	due       bool            // in Gateway.due; its mu guards it
	failures  atomic.Int32    // checks in a row that Redis didn't answer

	mu      sync.Mutex
	sockets []*socket
}

func newWatch(user string) *watch {
	return &watch{user: user, slot: rand.N(visitSlots)} //nolint:gosec // spreads load, guards nothing
}

func (w *watch) add(s *socket) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sockets = append(w.sockets, s)
}

// remove returns how many sockets remain.
func (w *watch) remove(s *socket) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sockets = slices.DeleteFunc(w.sockets, func(o *socket) bool { return o == s })
	return len(w.sockets)
}

func (w *watch) all() []*socket {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.sockets)
}

// offer passes a frame to every socket of the user.
func (w *watch) offer(f frame, m *metrics) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.sockets {
		m.gap(s.offer(f))
		s.wake()
	}
}

const (
	changeBegin   = `{"type":"change","change":`
	snapshotBegin = `{"type":"snapshot","cart":`
)

// changeFrame reads no more of the payload than it needs, and passes its bytes on as they are.
func changeFrame(user, payload string) (frame, error) {
	text := make([]byte, 0, len(changeBegin)+len(payload)+1)
	text = append(append(append(text, changeBegin...), payload...), '}')
	var c struct {
		UserID         string
		Epoch, Version int64
		Whole          bool
	}
	if err := json.Unmarshal(text[len(changeBegin):len(text)-1], &c); err != nil {
		return frame{}, fmt.Errorf("notice to %s: %w", user, err)
	}
	if c.UserID != user || c.Version < 1 || !utf8.ValidString(payload) { // a text frame must be UTF-8
		return frame{}, fmt.Errorf("notice to %s: user %q, version %d, or no UTF-8", user, c.UserID, c.Version)
	}
	return frame{change, cart.Tag{Epoch: c.Epoch, Version: c.Version}, c.Whole, text}, nil
}

func snapshotFrame(c schemas.Cart) frame {
	if c.Items == nil {
		c.Items = []schemas.Line{}
	}
	text := schemas.EncodeCart(c)
	text = slices.Concat([]byte(snapshotBegin), text, []byte{'}'})
	return frame{kind: snapshot, at: cart.Tag{Epoch: c.Epoch, Version: c.Version}, text: text}
}

func currentFrame(at cart.Tag) frame {
	text := fmt.Appendf(nil, `{"type":"current","epoch":%d,"version":%d}`, at.Epoch, at.Version)
	return frame{kind: current, at: at, text: text}
}
