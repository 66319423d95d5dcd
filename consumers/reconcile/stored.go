package reconcile

import "hash/maphash"

const (
	// mostWords of 8 bytes are kept, so that 16 million users find room in 32 MiB.
	mostWords  = 1 << 22
	leastWords = 1 << 10
	// perWord is how many users share a word at most. Then one of 200 who aren't among them seems to be; with half as many, which is
	// usual, one of 2,000.
	perWord = 4
)

// stored knows which users' documents a run has come across, so that MongoDB needn't be asked about them again: a Bloom filter.
// Some who aren't among them seem to be, others in each run.
type stored struct {
	seed  maphash.Seed
	words []uint64
	room  int
}

// newStored has room for about n users. What is beyond it is forgotten.
func newStored(n int64) *stored {
	words := leastWords
	for words < mostWords && int64(words)*perWord/2 < n {
		words *= 2
	}
	return &stored{seed: maphash.MakeSeed(), words: make([]uint64, words), room: words * perWord}
}

func (s *stored) add(user string) {
	if s.room == 0 {
		return
	}
	s.room--
	word, bits := s.find(user)
	*word |= bits
}

// has is true for all who were added while there was room, and for few others.
func (s *stored) has(user string) bool {
	word, bits := s.find(user)
	return *word&bits == bits
}

func (s *stored) find(user string) (word *uint64, bits uint64) {
	h := maphash.String(s.seed, user)
	bits = 1<<(h&63) | 1<<(h>>6&63) | 1<<(h>>12&63) | 1<<(h>>18&63)
	return &s.words[h>>24&uint64(len(s.words)-1)], bits //nolint:gosec // a length is not negative
}
