//go:build engines

package blackbox

import (
	"testing"

	"cartstream/deploy/enginetest"
)

func TestTwentyThousandCartsFollowTheirBookAlthoughConsumersAreKilled(t *testing.T) {
	if !enginetest.Real() {
		t.Fatal("20,000 carts need the real engines: CARTSTREAM_ENGINES=real")
	}
	fanOut(t, 20_000)
}
