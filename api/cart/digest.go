package cart

import (
	"context"
	"fmt"
	"time"

	"cartstream/schemas"
)

// Carts that changed are known by windows of changeWindow. One is looked at once it is past by as much again, so that no
// API whose clock is behind still writes into it.
const changeWindow = 30 * time.Second

// digestLines bounds how many lines one script looks at, some 4 µs each where they are hashed.
const digestLines = 500

// Changed returns up to limit users of the shard whose cart changed, in windows of half a minute that ended at least half a
// minute before now, the oldest first. They are returned again until Compared. The error is an *Unavailable.
func (s *Store) Changed(ctx context.Context, shard int, now time.Time, limit int) ([]string, error) {
	keys := []string{s.nodes.generation(shard), s.nodes.changed(shard)}
	users, err := s.list(ctx, shard, scriptChanged, keys, newestWindow(now), limit)
	if err != nil {
		return nil, fmt.Errorf("read the changed carts of shard %d: %w", shard, err)
	}
	return users[1:], nil
}

// Compared says that these users' carts, which Changed returned for now, are equal to their copies: they are not returned
// again before they change again. The error is an *Unavailable.
func (s *Store) Compared(ctx context.Context, shard int, now time.Time, users []string) error {
	keys := []string{s.nodes.generation(shard), s.nodes.changed(shard)}
	argv := []any{newestWindow(now)}
	for _, u := range users {
		argv = append(argv, u)
	}
	_, answer, err := s.run(ctx, shard, scriptUnchanged, keys, argv...)
	if err == nil && answer != "ok" {
		err = fmt.Errorf("script answered %v", answer)
	}
	if err != nil {
		return unavailable("", fmt.Errorf("note what was compared in shard %d: %w", shard, err))
	}
	return nil
}

// newestWindow is the begin of the newest window that Changed may look at.
func newestWindow(now time.Time) int64 { return now.Add(-2 * changeWindow).UnixMilli() }

// Digest stands for all that a cart is: two carts with the same digest are equal. The zero Digest is no cart.
type Digest struct {
	// Epoch and Version of the cart's own last change.
	Epoch, Version int64
	// Sum is its lines, in their order, its totals and when it changed, or a hash of them.
	Sum string
}

// Digests returns the digests of some users' carts, who all are of that shard, from all that the shard holds of them. It
// may return fewer than it was asked for, those of the first users, at least one. The error is an *Unavailable; it also
// says so of a shard that has not got its carts back.
func (s *Store) Digests(ctx context.Context, shard int, users []string) ([]Digest, error) {
	argv := make([]any, 0, 3+len(users))
	argv = append(argv, s.nodes.cart(shard, ""), digestLines, shortContent)
	for _, u := range users {
		argv = append(argv, u)
	}
	texts, err := s.list(ctx, shard, scriptDigest, []string{s.nodes.generation(shard)}, argv...)
	if err != nil {
		return nil, fmt.Errorf("compare carts of shard %d: %w", shard, err)
	}
	digests := make([]Digest, 0, len(texts)-1)
	for i, text := range texts[1:] {
		var d Digest
		if text != "" {
			if d, err = readDigest(text); err != nil {
				return nil, unavailable("", fmt.Errorf("compare the cart of %s: %w", users[i], err))
			}
		}
		digests = append(digests, d)
	}
	return digests, nil
}

// Adopt makes a cart what a copy holds of it: where the shard has no cart, or an older one than the copy, though it lost
// nothing that is known. The copy becomes the cart's next version under the shard's generation, a change of type restored
// that goes the way of every change. It reports false, and changes nothing, where the shard doesn't hold what the caller saw
// any more, or holds nothing older. The error is an *Unavailable.
func (s *Store) Adopt(ctx context.Context, c schemas.Cart, saw Digest) (bool, error) {
	if c.Version == 0 || !schemas.Newer(c.Epoch, c.Version, saw.Epoch, saw.Version) {
		return false, nil
	}
	shard, expected := s.nodes.shardOf(c.UserID), ""
	if saw.Version > 0 {
		expected = fmt.Sprintf("%d %d", saw.Epoch, saw.Version)
	}
	now := time.Now().UnixMilli()
	at := now
	if c.UpdatedAt != nil {
		at = c.UpdatedAt.UnixMilli()
	}
	totals := schemas.Sum(c.Items) // a copy is somebody else's: what can be worked out is
	argv := []any{c.UserID, schemas.NewTraceParent() + " - -", now, expected, c.Version,
		fmt.Sprintf("%d %d %d", totals.TotalAmount, totals.TotalQuantity, totals.LineCount),
		fmt.Sprintf("%d %d %d", c.Epoch, c.Version, at), s.idleWindow()}
	for i, l := range c.Items {
		argv = append(argv, l.BookID, compactLine(l, i+1))
	}
	keys := []string{s.nodes.generation(shard), s.nodes.cart(shard, c.UserID), s.nodes.outbox(shard)}
	_, answer, err := s.run(ctx, shard, scriptAdopt, keys, argv...)
	switch {
	case err != nil:
		return false, unavailable("", fmt.Errorf("adopt the cart of %s: %w", c.UserID, err))
	case answer == "ok":
		return true, nil
	case answer == "other":
		return false, nil
	}
	return false, unavailable("", fmt.Errorf("adopt the cart of %s: script answered %v", c.UserID, answer))
}
