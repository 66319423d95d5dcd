package schemas

// Murmur2 is the 32-bit MurmurHash2 by Austin Appleby with the seed that Apache Kafka's default partitioner uses, so that
// a client in any language finds the same partition.
func Murmur2(b []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(b)) //nolint:gosec // keys are far shorter than 4 GiB
	for ; len(b) >= 4; b = b[4:] {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		k *= m
		k ^= k >> r
		h = h*m ^ k*m
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(b[0])) * m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}

// Partition returns the one of n partitions, or shards, that a key belongs to, as Kafka's default partitioner does.
// Where n divides m, Partition(key, n) equals Partition(key, m) mod n.
func Partition(key string, n int) int {
	return int(Murmur2([]byte(key))&0x7fffffff) % n
}
