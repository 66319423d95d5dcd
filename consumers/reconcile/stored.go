package reconcile

import "hash/maphash"

// mostStored is how many users are remembered: at some 20 bytes each, 80 MiB.
const mostStored = 4 << 20

// stored knows which users' documents a run has come across, so that MongoDB needn't be asked about them again. It keeps hashes of
// 64 bits, seeded anew in each run: among a million users the odds that one without a document seems to have one are 1 to 18 million.
type stored struct {
	seed  maphash.Seed
	users map[uint64]struct{}
	room  int
}

// newStored has room for n users, or as many as may be remembered.
func newStored(n int64) *stored {
	room := int(min(max(n, 0), mostStored))
	return &stored{maphash.MakeSeed(), make(map[uint64]struct{}, room), room}
}

// add remembers the user where there is room: who is forgotten is asked about.
func (s *stored) add(user string) {
	if len(s.users) < s.room {
		s.users[maphash.String(s.seed, user)] = struct{}{}
	}
}

func (s *stored) has(user string) bool {
	_, known := s.users[maphash.String(s.seed, user)]
	return known
}
