//go:build engines

package cart_test

import (
	"testing"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
)

func TestEveryUserOfAClusterIsGoneOver(t *testing.T) {
	s := open(t, nil, enginetest.RedisCluster(t)...)
	raise(t, s, cart.Ready)
	goesOver(t, s)
}
