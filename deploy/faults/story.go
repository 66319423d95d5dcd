package main

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/schemas"
)

// story is a user's changes as they first appeared in Kafka, and the cart that they come to.
type story struct {
	entries []entry
	known   map[version]int // place in entries
	cart    schemas.Cart
}

// entry is one version, with the quantities that the cart had then.
type entry struct {
	version
	change     schemas.CartChanged
	raw        []byte
	quantities [books]int64
	explained  bool  // by an answer
	superseded int64 // where a change under a higher epoch has the same number, that one's offset: this one came too late
	offset     int64
}

// stories tells what records of cart.events.v1 say: each version first appears after all lower ones, none is missing, and
// repeats say the same. Whatever breaks the contract is a fault; values in poison are nobody's.
func stories(records []*kgo.Record, poison map[string]bool, f *faults) map[string]*story {
	all := map[string]*story{}
	for _, r := range records {
		if poison[string(r.Value)] {
			continue
		}
		user := string(r.Key)
		if want := schemas.Partition(user, partitions); int(r.Partition) != want {
			f.add("%s is in partition %d, not %d", user, r.Partition, want)
		}
		c, err := schemas.DecodeCartChanged(r.Value)
		if err != nil {
			f.add("%s/%d@%d: %v", r.Topic, r.Partition, r.Offset, err)
			continue
		}
		if all[user] == nil {
			all[user] = &story{known: map[version]int{}}
		}
		if err := all[user].tell(c, r.Value, r.Offset); err != nil {
			f.add("%s: %v", user, err)
		}
	}
	return all
}

// tell adds the next record.
func (s *story) tell(c schemas.CartChanged, raw []byte, offset int64) error {
	v := version{c.Epoch, c.Version}
	if i, ok := s.known[v]; ok {
		if !bytes.Equal(s.entries[i].raw, raw) {
			return fmt.Errorf("%v has two contents:\n%s\n%s", v, s.entries[i].raw, raw)
		}
		return nil
	}
	last := version{s.cart.Epoch, s.cart.Version}
	before := quantities(s.cart)
	outcome := s.cart.Apply(c)
	switch {
	case outcome != schemas.Applied:
		return fmt.Errorf("%v came when %v was the newest", v, last)
	case v.number != last.number+1 && v.epoch == last.epoch:
		return fmt.Errorf("%v follows %v", v, last)
	case v.number > last.number+1:
		return fmt.Errorf("%v follows %v: versions are missing", v, last)
	case v.number <= last.number:
		before = s.supersede(v, offset)
	}
	after := quantities(s.cart)
	s.known[v] = len(s.entries)
	s.entries = append(s.entries, entry{version: v, change: c, raw: raw, quantities: after, offset: offset})
	if c.Totals != schemas.Sum(s.cart.Items) {
		return fmt.Errorf("%v: totals %+v, its lines add up to %+v", v, c.Totals, schemas.Sum(s.cart.Items))
	}
	if n := differing(before, after); n > 1 && c.Type != schemas.Cleared {
		return fmt.Errorf("%v (%s) changes %d lines since %v: from %v to %v", v, c.Type, n, last, before, after)
	}
	return nil
}

// supersede notes that changes of an older epoch, from v's number on, were lost in Redis and came to Kafka so late that v
// was made without them, as the contract allows where they were not acknowledged. It returns the quantities before them.
func (s *story) supersede(v version, offset int64) (before [books]int64) {
	for i := range s.entries {
		switch e := &s.entries[i]; {
		case e.superseded > 0:
		case e.number >= v.number:
			e.superseded = offset
		case e.number == v.number-1:
			before = e.quantities
		}
	}
	return before
}

// neglected finds changes that Kafka had before Redis came back from a loss, and that were superseded all the same: recovery
// didn't bring them back. What came too late for an earlier loss Redis didn't have to have.
func (s *story) neglected(user string, losses []loss, f *faults) {
	p := int32(schemas.Partition(user, partitions)) //nolint:gosec // 16 of them
	for _, e := range s.entries {
		for i := len(losses) - 1; i >= 0 && e.superseded > 0; i-- {
			if end, ok := losses[i].ends[p]; ok && end <= e.superseded {
				late := slices.ContainsFunc(losses[:i], func(earlier loss) bool { return earlier.without(user, p, e) })
				if e.offset < end && !late {
					f.add("%s: Kafka had %v before Redis came back at %.1f s, and it was superseded", user, e.version, losses[i].at.Seconds())
				}
				break
			}
		}
	}
}

// without reports whether Redis may have lost the change, which was made before, and come back without it before Kafka had it.
// Where it isn't known what Kafka had, the cart's number tells that it lacks the change; it can't tell that it doesn't: the
// next change may have taken the number by the time that the carts were looked at.
func (l loss) without(user string, partition int32, e entry) bool {
	if e.epoch >= l.began.UnixMilli() {
		return false
	}
	if end, known := l.ends[partition]; known {
		return e.offset >= end
	}
	return e.number > l.carts[user]
}

// at returns the newest entry of that version number that is no newer than v, nil where there is none.
func (s *story) at(v version) *entry {
	if s == nil {
		return nil
	}
	for i := len(s.entries) - 1; i >= 0; i-- {
		if e := &s.entries[i]; e.number == v.number && e.epoch <= v.epoch {
			return e
		}
	}
	return nil
}

// near is the story around a version, for whoever has to find out what went wrong.
func (s *story) near(v version) (text string) {
	if s == nil {
		return "nothing"
	}
	for _, e := range s.entries {
		if e.number >= v.number-1 && e.number <= v.number+1 {
			text += fmt.Sprintf("%v %s of %v, ", e.version, e.change.Type, e.change.OccurredAt)
		}
	}
	return text
}

func quantities(c schemas.Cart) (q [books]int64) {
	for _, l := range c.Items {
		for i := range q {
			if l.BookID == bookID(i) {
				q[i] = l.Quantity
			}
		}
	}
	return q
}

func differing(a, b [books]int64) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}
