package main

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"cartstream/schemas"
)

// verdict is what became of the changes that were acknowledged.
type verdict struct {
	acknowledged int
	lost         []op // acknowledged, and not in Kafka
	superseded   int  // changes that nobody was told of and that came to Kafka after Redis had lost them
	faults       faults
}

// verify compares what clients were told with what Kafka tells: each acknowledged change is there as it was answered, and
// nothing else is but what a call of unknown outcome or the shop's own changes left.
func (l *load) verify(e *ending) *verdict {
	v := &verdict{}
	for i := range l.ops {
		user := userID(i)
		ops := l.ops[i].ops
		s := e.stories[user]
		open := map[kind]int{}
		for _, o := range ops {
			if o.fault != "" {
				v.faults.add("%v: %s", o, o.fault)
			}
			if o.result == unknown && o.mutates() {
				open[o.kind]++
			}
			if o.result != answered || !o.mutates() {
				continue
			}
			v.acknowledged++
			if err := s.holds(o); err != nil {
				v.lost = append(v.lost, o)
			}
			if o.match != (version{}) && o.at.number > o.match.number+1 {
				v.faults.add("%v was applied though it was for %v alone", o, o.match)
			}
		}
		if s != nil {
			v.unexplained(user, s, ops, open)
		}
		l.ops[i].ops = s.possible(ops, l.began)
	}
	return v
}

// errSuperseded: Kafka has the change, but another one of the same number after it, which was made without it.
var errSuperseded = errors.New("superseded under a higher epoch")

// holds returns nil where Kafka tells of the change as it was answered, or where the call changed nothing and was told so.
func (s *story) holds(o op) error {
	if s == nil {
		if o.change.Version == 0 {
			return nil
		}
		return fmt.Errorf("kafka knows nothing of %s", o.user)
	}
	if i, ok := s.known[o.at]; ok && bytes.Equal(s.entries[i].raw, schemas.EncodeCartChanged(o.change)) {
		s.entries[i].explained = true
		if s.entries[i].superseded > 0 {
			return errSuperseded
		}
		return nil
	}
	was := s.at(o.at)
	var q [books]int64
	if was != nil {
		q = was.quantities
	} else if o.at.number > 0 {
		return fmt.Errorf("kafka has no version %d", o.at.number)
	}
	switch {
	case o.kind == set && q[o.book] == o.quantity, o.kind == empty && q == [books]int64{}, o.kind == acknowledge && q[o.book] > 0:
		return nil
	}
	return fmt.Errorf("kafka tells otherwise")
}

// unexplained finds versions that neither an answer nor a call of unknown outcome can have made.
func (v *verdict) unexplained(user string, s *story, ops []op, open map[kind]int) {
	for _, e := range s.entries {
		if e.superseded > 0 && !e.explained {
			v.superseded++
		}
		if e.explained || e.superseded > 0 || e.change.Type == schemas.BookChangedInCart || e.change.Type == schemas.Restored {
			continue
		}
		found := false
		for _, k := range []kind{remove, add, set, acknowledge, empty} {
			// A call that sets 0 is told as a removal, so removals are looked for among both.
			o := op{kind: k}
			if open[k] > 0 && o.leaves(e.change.Type) {
				open[k]--
				found = true
				break
			}
		}
		if !found {
			v.faults.add("%s: nobody asked for %v (%s) of %s; calls: %v", user, e.version, e.change.Type, e.change.OccurredAt, around(ops, e.version))
		}
	}
}

// around is the calls whose answers named versions near v.
func around(ops []op, v version) (near []op) {
	for _, o := range ops {
		if d := o.at.number - v.number; o.mutates() && d >= -1 && d <= 1 {
			near = append(near, o)
		}
	}
	return near
}

// possible leaves out the calls of unknown outcome that can't have changed anything, since Kafka tells of no change that
// would be theirs.
func (s *story) possible(ops []op, began time.Time) []op {
	var kept []op
	for _, o := range ops {
		if o.result != unknown || !o.mutates() || s.mayHold(o, began) {
			kept = append(kept, o)
		}
	}
	return kept
}

// skew is how far the clocks that ops and changes were taken by may differ.
const skew = 100 * time.Millisecond

func (s *story) mayHold(o op, began time.Time) bool {
	if s == nil {
		return false
	}
	for _, e := range s.entries {
		if !e.explained && e.superseded == 0 && o.leaves(e.change.Type) && !e.change.OccurredAt.Before(began.Add(o.from-skew)) {
			return true
		}
	}
	return false
}
