package reconcile

import (
	"errors"

	"cartstream/api/cart"
)

// unlessRecovering returns the error, unless it says that the shard is recovering.
func unlessRecovering(err error) error {
	var away *cart.Unavailable
	if errors.As(err, &away) && away.Recovering {
		return nil
	}
	return err
}
