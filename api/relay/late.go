package relay

import (
	"context"

	"cartstream/schemas"
)

// lateAtOnce bounds how many users one heartbeat names for one shard.
const lateAtOnce = 500

// handed is what a round had to do with Kafka, whatever came of it. Until a heartbeat that was sent later finds the same
// generation, it may have come to Kafka after a recovery had read the end of the log, and Redis may have lost it.
type handed struct {
	generation string
	users      []string
}

// note keeps in mind whose carts the round changed.
func (s *shard) note(sent *round) {
	if sent.entries[0].Topic != schemas.CartEvents {
		return
	}
	users := make([]string, len(sent.entries))
	for i := range sent.entries {
		users[i] = sent.entries[i].Key
	}
	s.handed = append(s.handed, handed{sent.generation, users})
}

// suspects returns users for the heartbeat that is about to be sent.
func (s *shard) suspects() (users []string) {
	s.beaten = len(s.handed)
	for user := range s.late {
		if len(users) == lateAtOnce {
			break
		}
		users = append(users, user)
	}
	return users
}

// compare takes up that the shard's heartbeat was answered: these users count as changed by now, and what was handed to
// Kafka under the generation that it found is safe, since a recovery that is yet to come reads it. What was handed over
// under another is late: it reports whether there is any to be told of.
func (l *lane) compare(ctx context.Context, s *shard, told []string) bool {
	for _, user := range told {
		delete(s.late, user)
	}
	before := len(s.late)
	for _, h := range s.handed[:s.beaten] {
		if h.generation == s.lease.Generation {
			continue
		}
		if s.late == nil {
			s.late = map[string]struct{}{}
		}
		for _, user := range h.users {
			s.late[user] = struct{}{}
		}
	}
	s.handed, s.beaten = s.handed[s.beaten:], 0
	if len(s.handed) == 0 {
		s.handed = nil
	}
	if n := len(s.late) - before; n > 0 {
		l.relay.Logger.InfoContext(ctx, "changes were on their way to kafka when a shard's generation ended, their carts are to be compared",
			"shard", s.number, "users", n)
	}
	return len(s.late) > 0
}
