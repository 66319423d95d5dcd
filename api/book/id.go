package book

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

// crockford leaves out letters that are easily misread; in lower case its order is that of ASCII.
const crockford = "0123456789abcdefghjkmnpqrstvwxyz"

// newID returns an id that sorts by the millisecond of its making, then by chance: b, 10 characters of time, 10 of
// randomness.
func newID(now time.Time) string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails, says crypto/rand
	id := append(make([]byte, 0, 21), 'b')
	for _, n := range [2]uint64{uint64(max(0, now.UnixMilli())), binary.BigEndian.Uint64(random[:])} { //nolint:gosec // max keeps it positive
		for shift := 45; shift >= 0; shift -= 5 {
			id = append(id, crockford[n>>shift&31])
		}
	}
	return string(id)
}
