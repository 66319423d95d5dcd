package reconcile

// Page makes runs compare that many carts at once, so that few carts make many pages.
func (r *Reconciler) Page(n int) { r.page = n }
