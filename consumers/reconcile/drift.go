package reconcile

import (
	"cartstream/api/cart"
	"cartstream/schemas"
)

// Drift is a way in which MongoDB differs from Redis.
type Drift string

// The ways, and what heals each.
const (
	// Behind documents are older than the cart: the document becomes the cart.
	Behind Drift = "behind"
	// Missing documents aren't there: the document becomes the cart.
	Missing Drift = "missing"
	// Ahead documents are newer than the cart: the cart becomes the document, as its next version.
	Ahead Drift = "ahead"
	// Orphan documents are of users without a cart, in a shard that lost nothing: the cart becomes the document.
	Orphan Drift = "orphan"
	// Content differs under the same version: Redis is the truth, and the document becomes the cart.
	Content Drift = "content"
)

// kinds are all of them.
var kinds = []Drift{Behind, Missing, Ahead, Orphan, Content}

// pair is a cart as both sides have it. MongoDB was read first, so a cart that changes meanwhile shows Redis ahead.
type pair struct {
	user     string
	redis    cart.Digest
	document document // zero where there is none
}

// drift says how the two differ, "" where they don't.
func (p pair) drift() Drift {
	d := p.document.digest
	switch {
	case p.redis == (cart.Digest{}) && !p.document.there():
		return ""
	case p.redis == (cart.Digest{}):
		return Orphan
	case !p.document.there():
		return Missing
	case p.document.fault != nil:
		return Content
	case schemas.Newer(p.redis.Epoch, p.redis.Version, d.Epoch, d.Version):
		return Behind
	case schemas.Newer(d.Epoch, d.Version, p.redis.Epoch, p.redis.Version):
		return Ahead
	case p.redis.Sum != d.Sum:
		return Content
	}
	return ""
}

// still reports whether a difference that was seen before is one that the way of changes won't settle: a document that has
// reached what Redis had then is only on its way to what Redis has now.
func (p pair) still(then cart.Digest) bool {
	switch p.drift() {
	case "":
		return false
	case Behind:
		now := p.document.digest
		return then != (cart.Digest{}) && schemas.Newer(then.Epoch, then.Version, now.Epoch, now.Version)
	case Missing:
		return then != (cart.Digest{})
	default:
		return true
	}
}
