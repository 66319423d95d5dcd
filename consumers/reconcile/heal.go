package reconcile

import (
	"context"
	"errors"

	"cartstream/schemas"
)

// errMoved says that a cart changed while it was to be healed: whoever changed it does what is left, or the next run.
var errMoved = errors.New("the cart changed meanwhile")

// heal makes the two equal again.
func (r *Reconciler) heal(ctx context.Context, f *figures, p pair) error {
	drift := p.drift()
	err := r.settle(ctx, p)
	if errors.Is(err, errMoved) {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.drifted.Add(1)
	r.meter.drift.WithLabelValues(string(drift)).Inc()
	attrs := []any{"user", p.user, "drift", string(drift), "epoch", p.redis.Epoch, "version", p.redis.Version,
		"storedEpoch", p.document.digest.Epoch, "storedVersion", p.document.digest.Version}
	if err != nil {
		r.Log.Error("a cart differs between Redis and MongoDB and could not be healed", append(attrs, "error", err)...)
		return err
	}
	f.healed.Add(1)
	r.meter.healed.WithLabelValues(string(drift)).Inc()
	r.Log.Warn("a cart differed between Redis and MongoDB and was healed", attrs...)
	return nil
}

// adopt has Redis take the document.
func (r *Reconciler) adopt(ctx context.Context, p pair) error {
	stored, err := p.document.sound()
	if err != nil {
		return err
	}
	adopted, err := r.Carts.Adopt(ctx, stored, p.redis)
	if err != nil {
		return err
	}
	if !adopted {
		return errMoved
	}
	view, err := r.Carts.Get(ctx, stored.UserID)
	if err != nil || !schemas.Newer(stored.Epoch, stored.Version, view.Epoch, view.Version) {
		return err
	}
	// No generation ever had the document's epoch. It would stay ahead, whatever came.
	return r.documents.replace(ctx, p.document, view.Cart)
}

// replace puts the cart in the place of a document of the same version, or of one that can't be read, unless that is
// another one by now.
func (r *Reconciler) replace(ctx context.Context, user string, d document) error {
	view, err := r.Carts.Get(ctx, user)
	if err != nil {
		return err
	}
	if !view.Exists() || d.fault == nil && schemas.Newer(d.digest.Epoch, d.digest.Version, view.Epoch, view.Version) {
		return errMoved
	}
	return r.documents.replace(ctx, d, view.Cart)
}
