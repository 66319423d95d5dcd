package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// shelf is a cart as the model knows it: how many of each book, and the newest version that an answer named.
type shelf struct {
	at         int64
	quantities [books]int64
}

// sequential is a cart whose calls happen one after the other. Versions may pass by unseen, since the shop changes carts
// too and calls of unknown outcome may have been applied; contents may not.
var sequential = porcupine.Model{
	Init:              func() any { return shelf{} },
	Step:              func(before, input, _ any) (bool, any) { return input.(op).step(before.(shelf)) },
	Equal:             func(a, b any) bool { return a.(shelf) == b.(shelf) },
	DescribeOperation: func(input, _ any) string { return input.(op).String() },
}

// step says whether the op can have come out as it did on that shelf, and what the shelf is then.
func (o op) step(s shelf) (bool, shelf) {
	had := s.quantities[o.book]
	after := s
	switch o.kind {
	case add:
		after.quantities[o.book] += o.quantity
	case set:
		after.quantities[o.book] = o.quantity
	case remove:
		after.quantities[o.book] = 0
	case empty:
		after.quantities = [books]int64{}
	case acknowledge, get:
	}
	switch o.result {
	case unknown:
		return true, after // where it was refused, or never came through, it stands after all that was answered
	case refused:
		return o.refusable(had), s
	case undone:
		return true, s
	case answered:
	}
	if o.at.number < s.at || o.kind == get && quantities(o.cart) != s.quantities || o.kind == remove && had == 0 || o.kind == acknowledge && had == 0 {
		return false, s
	}
	if after != s && o.at.number == s.at {
		return false, s // a change has a version of its own
	}
	for _, line := range o.change.Items {
		if line.BookID == bookID(o.book) && o.kind != empty && line.Quantity != after.quantities[o.book] {
			return false, s
		}
	}
	after.at = o.at.number
	return true, after
}

// refusable says whether a call may be refused as it was while the cart has that many of the book.
func (o op) refusable(had int64) bool {
	switch o.slug {
	case "line-not-found":
		return had == 0 && (o.kind == remove || o.kind == acknowledge)
	case "version-mismatch":
		return o.match != version{}
	case "book-unavailable":
		return o.kind == add || o.kind == set && o.quantity > had
	default:
		return false
	}
}

// checkFor bounds porcupine's search, for one user.
const checkFor = 20 * time.Second

// linearizable checks each user's history: what every call was told must be possible if all happened one after the other,
// with the cart as it was in the end. lost are changes that were acknowledged and then lost, at which times: nothing that
// their user was told between is looked at.
func (l *load) linearizable(e *ending, lost []op, losses []time.Duration, f *faults) {
	first := map[string]op{}
	dropped := map[opID]bool{}
	for _, o := range lost {
		if was, ok := first[o.user]; !ok || o.from < was.from {
			first[o.user] = o
		}
		dropped[id(o)] = true
	}
	for i := range l.ops {
		user := userID(i)
		var history []porcupine.Operation
		for _, o := range l.ops[i].ops {
			if o.result == undone || dropped[id(o)] || o.kind == get && o.result != answered {
				continue
			}
			if was, ok := first[user]; ok && blind(o, was, losses) {
				// What may have changed the cart stays: without it what came after can't be explained.
				if !o.mutates() || o.result == refused || o.result == answered && e.stories[user].holds(o) != nil {
					continue
				}
			}
			if dirty(o, e.stories[user], losses) {
				continue
			}
			to := int64(o.to)
			if o.result == unknown {
				to = math.MaxInt64
			}
			history = append(history, porcupine.Operation{ClientId: o.client, Input: o, Call: int64(o.from), Return: to})
		}
		last := op{user: user, client: familySize, kind: get, result: answered, cart: e.carts[user], at: version{e.carts[user].Epoch, e.carts[user].Version}}
		history = append(history, porcupine.Operation{ClientId: familySize, Input: last, Call: int64(e.read), Return: int64(e.read + time.Second)})
		if result := porcupine.CheckOperationsTimeout(sequential, history, checkFor); result != porcupine.Ok {
			why := ""
			if f.n < keptFaults/3 { // else it isn't shown
				why = describe(history, e.stories[user])
			}
			f.add("the history of %s is %s: %s", user, result, why)
		}
	}
}

// opID names an op among all.
type opID struct {
	user   string
	client int
	from   time.Duration
}

func id(o op) opID { return opID{o.user, o.client, o.from} }

// blind says whether what the op was told may rest on a change that was lost afterwards.
func blind(o, lost op, losses []time.Duration) bool {
	for _, at := range losses {
		if at >= lost.from && o.to >= lost.from && o.from <= at {
			return true
		}
	}
	return false
}

// dirtyFor is how long a change may be seen by others before it is acknowledged.
const dirtyFor = callFor

// dirty says whether what the op was told, which is no acknowledgement, may rest on a change that was not acknowledged
// and then lost.
func dirty(o op, s *story, losses []time.Duration) bool {
	if o.result != refused && o.kind != get {
		return false
	}
	for _, at := range losses {
		if o.from > at || o.to < at-dirtyFor {
			continue
		}
		if o.result == refused {
			return true
		}
		if told := s.at(o.at); told == nil || told.superseded > 0 || told.quantities != quantities(o.cart) {
			return true
		}
	}
	return false
}

// describe tells how far the calls can be explained, what the cart is then, and which calls can't follow.
func describe(history []porcupine.Operation, s *story) string {
	_, info := porcupine.CheckOperationsVerbose(sequential, history, checkFor)
	var longest []int
	for _, one := range slices.Concat(info.PartialLinearizations()...) {
		if len(one) > len(longest) {
			longest = one
		}
	}
	const shown = 6
	at, done, text := shelf{}, map[int]bool{}, ""
	for i, n := range longest {
		done[n] = true
		_, at = history[n].Input.(op).step(at)
		if i >= len(longest)-shown {
			text += fmt.Sprintf("\n      %v %v", history[n].Input, history[n].Input.(op).told())
		}
	}
	text += fmt.Sprintf("\n      comes to %d %v, and can't be followed by", at.at, at.quantities)
	var left []op
	for n, o := range history {
		if !done[n] {
			left = append(left, o.Input.(op))
		}
	}
	slices.SortFunc(left, func(a, b op) int { return cmp.Compare(a.from, b.from) })
	for _, o := range left[:min(shown, len(left))] {
		text += fmt.Sprintf("\n      %v %v; Kafka has %v", o, o.told(), s.near(o.at))
	}
	return text
}

// told is what an answer shows of the cart.
func (o op) told() string {
	if o.kind == get {
		return fmt.Sprint(quantities(o.cart))
	}
	text := ""
	for _, l := range o.change.Items {
		text += fmt.Sprintf("%s: %d ", l.BookID, l.Quantity)
	}
	return text
}
