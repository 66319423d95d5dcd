package state

import (
	"sync"

	"cartstream/schemas"
)

// seenMost bounds what is remembered; beyond, it starts over.
const seenMost = 1 << 16

// seen remembers the newest change of each cart that came from Kafka. The zero value is ready for use.
type seen struct {
	mu     sync.Mutex
	newest map[string]stamp
}

type stamp struct{ epoch, version int64 }

// overtaken notes a change and says whether a newer one of its cart came before. False may also mean that it was forgotten.
func (s *seen) overtaken(c schemas.CartChanged) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, known := s.newest[c.UserID]
	if known && schemas.Newer(at.epoch, at.version, c.Epoch, c.Version) {
		return true
	}
	if s.newest == nil || !known && len(s.newest) >= seenMost {
		s.newest = map[string]stamp{}
	}
	s.newest[c.UserID] = stamp{c.Epoch, c.Version}
	return false
}
