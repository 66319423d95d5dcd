package blackbox

import (
	"context"
	"testing"

	"cartstream/deploy/outside"
)

// follow starts a device that lives as long as its test, which fails where it is sent what the contract rules out.
func follow(t *testing.T, user, addr string) *outside.Device {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	d := outside.Follow(ctx, addr, user, token(user, ""))
	t.Cleanup(func() {
		cancel()
		<-d.Ended()
		if err := d.Fault(); err != nil {
			t.Error(err)
		}
	})
	return d
}
