package rest

import (
	"net/netip"

	"github.com/gin-gonic/gin"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// callers is how many buckets are kept. A bucket is full again two seconds after its last call, so forgetting the one
// that was used least recently gives nobody more than their due unless so many call within two seconds.
const callers = 1 << 16

// caller is whom a call counts for: a user, or else an address.
type caller struct {
	user    string
	address netip.Addr
}

// limits are a token bucket for each caller, on this instance. nil limits nobody.
type limits struct {
	perSecond int
	buckets   *lru.Cache[caller, *rate.Limiter]
}

func newLimits(perSecond int) *limits {
	if perSecond == 0 {
		return nil
	}
	buckets, err := lru.New[caller, *rate.Limiter](callers)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &limits{perSecond, buckets}
}

// allow counts the call for the user, or for its address where there is none, and reports whether it may go on.
func (l *limits) allow(user string, c *gin.Context) bool {
	if l == nil {
		return true
	}
	who := caller{user: user}
	if user == "" {
		who.address = network(c.ClientIP())
	}
	bucket, ok := l.buckets.Get(who)
	if !ok {
		bucket = rate.NewLimiter(rate.Limit(l.perSecond), 2*l.perSecond)
		if first, exists, _ := l.buckets.PeekOrAdd(who, bucket); exists {
			bucket = first
		}
	}
	return bucket.Allow()
}

// network returns the address, cut to the 64 bits that one customer of a provider has where it is IPv6.
func network(address string) netip.Addr {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Addr{}
	}
	a = a.Unmap()
	if a.Is4() {
		return a
	}
	prefix, err := a.WithZone("").Prefix(64)
	if err != nil {
		return a
	}
	return prefix.Addr()
}
