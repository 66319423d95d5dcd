package reconcile

import (
	"context"
	"errors"
	"fmt"

	"cartstream/consumers/runner"
)

// Cart makes one cart and its document equal at once, by the rules of every run, for an operator who asks for it. It counts
// as no drift: whoever asks may be faster than the way of changes. An error says that one of the two can't be asked or
// written now, or, as runner.Permanent, that the
// document is one that Redis can't take.
func (r *Reconciler) Cart(ctx context.Context, user string) error {
	var err error
	for range 5 { // a cart that changes all the time
		failed := map[string]error{}
		found, lookErr := r.look(ctx, []string{user}, failed)
		switch {
		case lookErr != nil:
			return fmt.Errorf("compare the cart of %s: %w", user, lookErr)
		case len(found) == 0:
			return fmt.Errorf("compare the cart of %s: %w", user, failed[user])
		}
		if err = r.settle(ctx, found[0]); !errors.Is(err, errMoved) {
			break
		}
	}
	if errors.Is(err, errUnsound) {
		err = runner.Permanent(err)
	}
	if err != nil {
		return fmt.Errorf("make the cart of %s equal: %w", user, err)
	}
	return nil
}
