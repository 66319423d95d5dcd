package reconcile

import (
	"context"
	"time"
)

// Page makes runs compare that many carts at once, so that few carts make many pages.
func (r *Reconciler) Page(n int) { r.page = n }

// CompareSuspects is what Run does with suspects that are due.
func (r *Reconciler) CompareSuspects(ctx context.Context, users []string) error {
	return r.compareSuspects(ctx, users)
}

// Name is Suspect at that time, and Take is who is due then.
func (r *Reconciler) Name(user string, now time.Time) { r.suspects.name(user, now, r.LookAgainAfter) }

func (r *Reconciler) Take(now time.Time) []string { return r.suspects.take(now) }
