package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// Drift is a way in which MongoDB differs from Redis.
type Drift string

// The ways, and what heals each.
const (
	// Behind documents are older than the cart: the document becomes the cart.
	Behind Drift = "behind"
	// Missing documents aren't there: the document becomes the cart.
	Missing Drift = "missing"
	// Ahead documents are newer than the cart: the cart becomes the document, as its next version.
	Ahead Drift = "ahead"
	// Orphan documents are of users without a cart, in a shard that lost nothing: the cart becomes the document.
	Orphan Drift = "orphan"
	// Content differs under the same version: Redis is the truth, and the document becomes the cart.
	Content Drift = "content"
)

// kinds are all of them.
var kinds = []Drift{Behind, Missing, Ahead, Orphan, Content}

// pair is a cart as both sides have it. MongoDB was read first, so a cart that changes meanwhile shows Redis ahead.
type pair struct {
	redis    cart.Digest
	document document // zero where there is none
}

// drift says how the two differ, "" where they don't.
func (p pair) drift() Drift {
	d := p.document.digest
	switch {
	case p.redis == (cart.Digest{}) && !p.document.there():
		return ""
	case p.redis == (cart.Digest{}):
		return Orphan
	case !p.document.there():
		return Missing
	case p.document.fault != nil:
		return Content
	case schemas.Newer(p.redis.Epoch, p.redis.Version, d.Epoch, d.Version):
		return Behind
	case schemas.Newer(d.Epoch, d.Version, p.redis.Epoch, p.redis.Version):
		return Ahead
	case p.redis.Sum != d.Sum:
		return Content
	}
	return ""
}

// still reports whether a difference that was seen before is one that the way of changes won't settle: a document that has
// reached what Redis had then is only on its way to what Redis has now.
func (p pair) still(before pair) bool {
	switch p.drift() {
	case "":
		return false
	case Behind:
		then, now := before.redis, p.document.digest
		return then != (cart.Digest{}) && schemas.Newer(then.Epoch, then.Version, now.Epoch, now.Version)
	case Missing:
		return before.redis != (cart.Digest{})
	default:
		return true
	}
}

// compare compares these users' carts, looks again after a while at those that differ, and heals those that still do. failed
// is why some could not be compared or healed; the error is for all of them.
func (r *Reconciler) compare(ctx context.Context, f *figures, users []string) (failed map[string]error, err error) {
	if err := r.pace.WaitN(ctx, min(len(users), perPage)); err != nil {
		return nil, err
	}
	failed = map[string]error{}
	first, err := r.look(ctx, users, failed)
	if err != nil {
		return nil, err
	}
	f.compared.Add(int64(len(first)))
	r.meter.compared.Add(float64(len(first)))
	var suspects []string
	for user, p := range first {
		if p.drift() != "" {
			suspects = append(suspects, user)
		}
	}
	if len(suspects) == 0 {
		return failed, nil
	}
	select {
	case <-time.After(r.LookAgainAfter):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	second, err := r.look(ctx, suspects, failed)
	if err != nil {
		return nil, err
	}
	for user, p := range second {
		if !p.still(first[user]) {
			continue
		}
		if err := r.heal(ctx, f, user, p); err != nil {
			failed[user] = err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return failed, nil
}

// look reads both sides, MongoDB first. Users whose shard can't be asked go into failed.
func (r *Reconciler) look(ctx context.Context, users []string, failed map[string]error) (map[string]pair, error) {
	documents, err := r.documents.find(ctx, users)
	if err != nil {
		return nil, err
	}
	byShard := map[int][]string{}
	for _, u := range users {
		shard := r.Carts.ShardOf(u)
		byShard[shard] = append(byShard[shard], u)
	}
	type answer struct {
		users   []string
		digests []cart.Digest
		err     error
	}
	answers := make(chan answer, len(byShard))
	var asking errgroup.Group
	asking.SetLimit(2 * shardsAtOnce)
	for shard, some := range byShard {
		asking.Go(func() error {
			digests, err := r.digests(ctx, shard, some)
			answers <- answer{some, digests, err}
			return nil
		})
	}
	_ = asking.Wait() // each answer has its error
	close(answers)
	pairs := make(map[string]pair, len(users))
	for a := range answers {
		for i, u := range a.users {
			if i < len(a.digests) {
				pairs[u] = pair{a.digests[i], documents[u]}
			} else {
				failed[u] = a.err
			}
		}
	}
	return pairs, ctx.Err()
}

// digests returns those of the first users, and an error where they aren't all.
func (r *Reconciler) digests(ctx context.Context, shard int, users []string) (all []cart.Digest, err error) {
	for len(all) < len(users) {
		some, err := r.Carts.Digests(ctx, shard, users[len(all):])
		if err != nil {
			return all, err
		}
		if len(some) == 0 {
			return all, fmt.Errorf("shard %d answers nothing", shard)
		}
		all = append(all, some...)
	}
	return all, nil
}

// errMoved says that a cart changed while it was to be healed: whoever changed it does what is left, or the next run.
var errMoved = errors.New("the cart changed meanwhile")

// heal makes the two equal again.
func (r *Reconciler) heal(ctx context.Context, f *figures, user string, p pair) error {
	drift := p.drift()
	err := r.settle(ctx, user, p)
	if errors.Is(err, errMoved) {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.drifted.Add(1)
	r.meter.drift.WithLabelValues(string(drift)).Inc()
	attrs := []any{"user", user, "drift", string(drift), "epoch", p.redis.Epoch, "version", p.redis.Version,
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

// settle does what makes the two equal; errMoved says that it didn't.
func (r *Reconciler) settle(ctx context.Context, user string, p pair) error {
	switch p.drift() {
	case Behind, Missing:
		return r.Sync(ctx, user)
	case Ahead, Orphan:
		return r.adopt(ctx, p)
	case Content:
		return r.replace(ctx, user, p.document)
	}
	return nil
}

// adopt has Redis take the document.
func (r *Reconciler) adopt(ctx context.Context, p pair) error {
	if err := p.document.sound(); err != nil {
		return err
	}
	stored := p.document.cart
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
