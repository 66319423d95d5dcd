package reconcile

import (
	"context"
	"errors"
	"fmt"

	"cartstream/consumers/runner"
)

// Cart makes one cart and its document equal at once, by the rules of every run, for an operator who asks for it; but a
// document that no cart can be, which runs leave alone, gives way to the cart where Redis has one. It counts as no drift:
// whoever asks may be faster than the way of changes. An error says that one of the two can't be asked or written now, or,
// as runner.Permanent, that the document is one that Redis can't take, and that Redis has no cart to put in its place.
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
		err = r.settle(ctx, found[0])
		if errors.Is(err, errUnsound) && found[0].drift() == Ahead {
			err = r.displace(ctx, found[0])
		}
		if !errors.Is(err, errMoved) {
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

// displace puts the cart in the place of the document, whatever that says of its version.
func (r *Reconciler) displace(ctx context.Context, p pair) error {
	view, err := r.Carts.Get(ctx, p.user)
	if err != nil {
		return err
	}
	if !view.Exists() {
		return errMoved
	}
	return r.documents.replace(ctx, p.document, view.Cart)
}
