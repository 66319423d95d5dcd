package cart_test

import (
	"maps"
	"slices"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// modelShard is what a shard knows about books, how far each walk is, "" at its beginning, and whom the index of a book
// names although they don't hold it.
type modelShard struct {
	facts map[string]schemas.Book
	walks map[string]string
	stray map[string]map[string]bool
}

// holders returns the users of a shard whose cart holds the book, by id.
func (m *model) holders(shard int, book string) (users []string) {
	for user, c := range m.carts {
		if c.shard == shard && c.find(book) >= 0 {
			users = append(users, user)
		}
	}
	slices.Sort(users)
	return users
}

// indexed returns the users that the shard's index of the book names, by id.
func (m *model) indexed(shard int, book string) []string {
	users := slices.AppendSeq(m.holders(shard, book), maps.Keys(m.shards[shard].stray[book]))
	slices.Sort(users)
	return users
}

// misplace puts a user into the index of a book, as one who doesn't hold it.
func (m *model) misplace(user, book string) {
	c := m.carts[user]
	if c.find(book) >= 0 {
		return
	}
	stray := m.shards[c.shard].stray
	if stray[book] == nil {
		stray[book] = map[string]bool{}
	}
	stray[book][user] = true
}

// learn is what a shard does with facts.
func (m *model) learn(shard int, b schemas.Book) {
	s := m.shards[shard]
	held, ok := s.facts[b.BookID]
	if ok && held.Version >= b.Version {
		return
	}
	s.facts[b.BookID] = b
	if len(m.indexed(shard, b.BookID)) > 0 && (!ok || differ(held, b)) {
		s.walks[b.BookID] = ""
	}
}

// step takes a walk on over some holders.
func (m *model) step(shard int, book string, limit int) cart.Step {
	s := m.shards[shard]
	from, queued := s.walks[book]
	if !queued {
		return cart.Step{State: cart.WalkDone}
	}
	users := slices.DeleteFunc(m.indexed(shard, book), func(u string) bool { return u <= from })
	if len(users) == 0 {
		delete(s.walks, book)
		return cart.Step{State: cart.WalkDone}
	}
	if _, known := s.facts[book]; !known {
		return cart.Step{State: cart.WalkUnknown}
	}
	step, looked := cart.Step{State: cart.WalkOn}, 0
	for _, u := range users[:min(limit, len(users))] {
		c := m.carts[u]
		if i := c.find(book); i < 0 {
			delete(s.stray[book], u)
		} else if l := &c.lines[i]; l.bring(s.facts[book]) {
			if c.epoch != m.epoch {
				looked += len(c.lines)
			}
			m.answer(u, schemas.BookChangedInCart, true, l.line())
			step.Changed++
		}
		s.walks[book], step.Seen, looked = u, step.Seen+1, looked+1
		if looked >= limit {
			break
		}
	}
	if step.Seen == len(users) && step.Seen < limit {
		delete(s.walks, book)
		step.State = cart.WalkDone
	}
	return step
}
