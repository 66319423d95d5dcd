package cart

import (
	"crypto/sha256"
	"encoding/base64"
	"strconv"

	"cartstream/schemas"
)

// layout names every key. All keys of a shard begin with its hash tag, so that they share a slot of Redis Cluster and
// one script may touch them all:
//
//	{tag}:g           generation: "<G>:<nonce> <state>"
//	{tag}:o           outbox: a stream of changes, ids "<G>-<n>"
//	{tag}:p           position: id of the newest outbox entry that Kafka has
//	{tag}:e           offset in cart.events up to which the shard holds what every record of it says
//	{tag}:n           replication id of the server that the generation was opened on
//	{tag}:l, :m, :t   relay: lease, members by heartbeat, last fencing token
//	{tag}:r           recovery: who leads the node, at its lowest shard
//	{tag}:a           carts that were brought back, for operators: "<G>:<nonce> <count>"
//	{tag}:b           books that the shard has facts of: a sorted set with all scores 0
//	{tag}:w           queue of walks: a hash, book → the user it stands at; "*" asks for a refresh of all facts
//	{tag}:v           lease of the shard's walks
//	{tag}:i           idle index: users by the window of their own last change (ms)
//	{tag}:d           changed carts: users by the 30 s window of their cart's last change (ms)
//	{tag}:c:<user>    cart: a hash, field "*" is its head, each other field a line by book id
//	{tag}:f:<book>    facts of a book: version, price, availability, title
//	{tag}:u:<book>    users whose cart holds the book: a sorted set with all scores 0, so that a walk resumes by id
//	{tag}:k:<hash>    kept answer of a keyed request
type layout struct{ tags []string }

// slots is the number of hash slots of a Redis Cluster.
const slots = 16384

// newLayout finds for each shard the smallest number whose slot lies in the shard's part of the slot range, so that
// shards spread evenly over any number of masters. The result depends on the number of shards alone.
func newLayout(shards int) layout {
	tags := make([]string, shards)
	for n, missing := 0, shards; missing > 0; n++ {
		tag := strconv.Itoa(n)
		shard := int(crc16(tag)) % slots * shards / slots
		if tags[shard] == "" {
			tags[shard] = "{" + tag + "}"
			missing--
		}
	}
	return layout{tags}
}

func (l layout) shards() int { return len(l.tags) }

// all returns every shard, rising.
func (l layout) all() []int {
	shards := make([]int, len(l.tags))
	for i := range shards {
		shards[i] = i
	}
	return shards
}

func (l layout) shardOf(user string) int     { return schemas.Partition(user, len(l.tags)) }
func (l layout) generation(shard int) string { return l.tags[shard] + ":g" }
func (l layout) outbox(shard int) string     { return l.tags[shard] + ":o" }
func (l layout) position(shard int) string   { return l.tags[shard] + ":p" }
func (l layout) tail(shard int) string       { return l.tags[shard] + ":e" }
func (l layout) server(shard int) string     { return l.tags[shard] + ":n" }
func (l layout) lease(shard int) string      { return l.tags[shard] + ":l" }
func (l layout) members(shard int) string    { return l.tags[shard] + ":m" }
func (l layout) token(shard int) string      { return l.tags[shard] + ":t" }
func (l layout) recovery(shard int) string   { return l.tags[shard] + ":r" }
func (l layout) restored(shard int) string   { return l.tags[shard] + ":a" }
func (l layout) known(shard int) string      { return l.tags[shard] + ":b" }
func (l layout) walks(shard int) string      { return l.tags[shard] + ":w" }
func (l layout) walker(shard int) string     { return l.tags[shard] + ":v" }
func (l layout) idle(shard int) string       { return l.tags[shard] + ":i" }
func (l layout) changed(shard int) string    { return l.tags[shard] + ":d" }

func (l layout) cart(shard int, user string) string  { return l.tags[shard] + ":c:" + user }
func (l layout) facts(shard int, book string) string { return l.tags[shard] + ":f:" + book }
func (l layout) users(shard int, book string) string { return l.tags[shard] + ":u:" + book }
func (l layout) kept(shard int, hash string) string  { return l.tags[shard] + ":k:" + hash }

// feed is the pub/sub channel of a user's changes.
func (l layout) feed(user string) string { return l.tags[l.shardOf(user)] + ":live:" + user }

// relayed is the pub/sub channel on which a shard's position is announced.
func (l layout) relayed(shard int) string { return l.tags[shard] + ":relayed" }

// hash returns 22 characters that stand for the parts, with 128 bits of SHA-256.
func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

// crc16 is CRC-16/XMODEM, by which Redis Cluster assigns keys to slots (Redis Cluster specification, appendix A).
func crc16(s string) uint16 {
	var crc uint16
	for i := range len(s) {
		crc ^= uint16(s[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}
