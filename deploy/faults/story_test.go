package main

import (
	"strings"
	"testing"
	"time"

	"cartstream/schemas"
)

// changed is a change of one line.
func changed(epoch, number int64, kind schemas.EventType, book int, quantity int64, whole ...schemas.Line) schemas.CartChanged {
	l := line(book, quantity)
	c := schemas.CartChanged{UserID: "u", Epoch: epoch, Version: number, Type: kind, Items: []schemas.Line{l}, Currency: "EUR"}
	if len(whole) > 0 || number == 1 {
		c.Whole, c.Items = true, append(whole, l)
	}
	return c
}

func line(book int, quantity int64) schemas.Line {
	return schemas.Line{BookID: bookID(book), Title: "T", UnitPrice: 10, Quantity: quantity, LineTotal: 10 * quantity, Availability: schemas.Available}
}

// told is a story of these changes, with the totals that each should have, and what is wrong with it.
func told(changes ...schemas.CartChanged) (*story, error) {
	s := &story{known: map[version]int{}}
	for i, c := range changes {
		after := schemas.Cart{UserID: s.cart.UserID, Epoch: s.cart.Epoch, Version: s.cart.Version, Items: append([]schemas.Line{}, s.cart.Items...)}
		after.Apply(c)
		c.Totals = schemas.Sum(after.Items)
		if err := s.tell(c, schemas.EncodeCartChanged(c), int64(i)); err != nil {
			return s, err
		}
	}
	return s, nil
}

func TestAStory(t *testing.T) {
	one, two := changed(1, 1, schemas.ItemAdded, 1, 2), changed(1, 2, schemas.ItemAdded, 2, 3)
	for claim, c := range map[string]struct {
		changes []schemas.CartChanged
		want    string // in the fault; "" for none
	}{
		"versions follow each other":                    {[]schemas.CartChanged{one, two, changed(1, 3, schemas.ItemRemoved, 1, 0)}, ""},
		"a repeat says nothing new":                     {[]schemas.CartChanged{one, two, two}, ""},
		"a repeat may not say something else":           {[]schemas.CartChanged{one, two, changed(1, 2, schemas.ItemAdded, 2, 4)}, "two contents"},
		"a version may not be missing":                  {[]schemas.CartChanged{one, changed(1, 3, schemas.ItemAdded, 2, 3)}, "1.3 came"},
		"a higher epoch goes on with all lines":         {[]schemas.CartChanged{one, two, changed(5, 3, schemas.ItemAdded, 3, 1, line(1, 2), line(2, 3))}, ""},
		"a higher epoch may not lose a line":            {[]schemas.CartChanged{one, two, changed(5, 3, schemas.ItemAdded, 3, 1, line(1, 2))}, "changes 2 lines"},
		"a higher epoch may take a version again":       {[]schemas.CartChanged{one, two, changed(5, 2, schemas.ItemAdded, 3, 1, line(1, 2))}, ""},
		"but may not take it back with what was before": {[]schemas.CartChanged{one, two, changed(5, 2, schemas.ItemAdded, 3, 1)}, "5.2 came"},
		"nor lose a line of what was before":            {[]schemas.CartChanged{one, two, changed(1, 3, schemas.ItemAdded, 4, 1), changed(5, 3, schemas.ItemAdded, 3, 1, line(1, 2))}, "changes 2 lines"},
		"a higher epoch may not leave a version out":    {[]schemas.CartChanged{one, changed(5, 3, schemas.ItemAdded, 3, 1, line(1, 2))}, "missing"},
		"a higher epoch says that it is whole":          {[]schemas.CartChanged{one, changed(5, 2, schemas.ItemAdded, 3, 1)}, "5.2 came"},
		"an older change may not appear late":           {[]schemas.CartChanged{one, changed(5, 2, schemas.ItemAdded, 3, 1, line(1, 2)), changed(1, 2, schemas.ItemAdded, 3, 1)}, "came when"},
	} {
		t.Run(claim, func(t *testing.T) {
			_, err := told(c.changes...)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestWhatBecameOfAnswersIsKnown(t *testing.T) {
	one, two := changed(1, 1, schemas.ItemAdded, 1, 2), changed(1, 2, schemas.ItemAdded, 2, 3)
	one.Totals, two.Totals = schemas.Sum([]schemas.Line{line(1, 2)}), schemas.Sum([]schemas.Line{line(1, 2), line(2, 3)})
	acknowledged := func(k kind, c schemas.CartChanged, book int, quantity int64) op {
		return op{user: userID(0), kind: k, book: book, quantity: quantity, result: answered, change: c, at: version{c.Epoch, c.Version}}
	}
	other := two
	other.OccurredAt = schemas.Milliseconds(1)
	beyond := changed(1, 3, schemas.ItemAdded, 3, 1)
	for claim, c := range map[string]struct {
		ops          []op
		lost, faults int
	}{
		"all is as it was answered":                {[]op{acknowledged(add, one, 1, 2), acknowledged(add, two, 2, 3)}, 0, 0},
		"an answer that Kafka lacks is lost":       {[]op{acknowledged(add, one, 1, 2), acknowledged(add, two, 2, 3), acknowledged(add, beyond, 3, 1)}, 1, 0},
		"an answer that Kafka tells otherwise too": {[]op{acknowledged(add, one, 1, 2), acknowledged(add, other, 2, 3)}, 1, 1},
		"an answer that was superseded is lost":    {[]op{acknowledged(add, one, 1, 2), acknowledged(add, two, 2, 3)}, 1, 0},
		"a version that nobody asked for":          {[]op{acknowledged(add, one, 1, 2)}, 0, 1},
		"unless a call's outcome is unknown":       {[]op{acknowledged(add, one, 1, 2), {user: userID(0), kind: add, result: unknown}}, 0, 0},
		"of the same kind":                         {[]op{acknowledged(add, one, 1, 2), {user: userID(0), kind: remove, result: unknown}}, 0, 1},
		"but not if it was refused":                {[]op{acknowledged(add, one, 1, 2), {user: userID(0), kind: add, result: refused}}, 0, 1},
		"an answer that changed nothing":           {[]op{acknowledged(add, one, 1, 2), acknowledged(add, two, 2, 3), acknowledged(set, other, 2, 3)}, 0, 0},
		"an answer that no contract allows":        {[]op{acknowledged(add, one, 1, 2), acknowledged(add, two, 2, 3), {user: userID(0), kind: get, fault: "500"}}, 0, 1},
	} {
		t.Run(claim, func(t *testing.T) {
			changes := []schemas.CartChanged{one, two}
			if strings.Contains(claim, "superseded") {
				changes = append(changes, changed(5, 2, schemas.BookChangedInCart, 1, 2, []schemas.Line{}...))
				changes[2].Whole = true
			}
			s, err := told(changes...)
			if err != nil {
				t.Fatal(err)
			}
			l := &load{}
			l.ops[0].ops = c.ops
			v := l.verify(&ending{stories: map[string]*story{userID(0): s}})
			if len(v.lost) != c.lost || v.faults.n != c.faults {
				t.Errorf("lost %v, faults %v; want %d and %d", v.lost, v.faults.err(), c.lost, c.faults)
			}
		})
	}
}

func TestWhatKafkaHadBeforeRedisCameBackIsNotSuperseded(t *testing.T) {
	s, err := told(changed(1, 1, schemas.ItemAdded, 1, 2), changed(1, 2, schemas.ItemAdded, 2, 3), changed(5, 2, schemas.ItemAdded, 3, 1, line(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	p := int32(schemas.Partition("u", partitions))
	back := func(epoch, end, cart int64) loss {
		return loss{began: time.UnixMilli(epoch), ends: map[int32]int64{p: end}, carts: map[string]int64{"u": cart}}
	}
	for claim, c := range map[string]struct {
		losses []loss
		want   int
	}{
		"what came to Kafka later may be":                    {[]loss{back(4, 1, 1)}, 0},
		"what Kafka had may not":                             {[]loss{back(4, 2, 1)}, 1},
		"a later loss has no part in it":                     {[]loss{back(4, 3, 1)}, 0},
		"nor has one that finds it gone already":             {[]loss{back(2, 1, 1), back(4, 2, 1)}, 0},
		"nor where its number is another's by then":          {[]loss{back(2, 1, 2), back(4, 2, 1)}, 0},
		"but Kafka had it before the first":                  {[]loss{back(2, 2, 1), back(4, 2, 1)}, 1},
		"but it was made after the first":                    {[]loss{back(1, 1, 1), back(4, 2, 1)}, 1},
		"nor where nobody knows what Kafka had at the first": {[]loss{{began: time.UnixMilli(2)}, back(4, 2, 1)}, 0},
		"but Redis had it after that one":                    {[]loss{{began: time.UnixMilli(2), carts: map[string]int64{"u": 2}}, back(4, 2, 1)}, 1},
	} {
		t.Run(claim, func(t *testing.T) {
			var f faults
			s.neglected("u", c.losses, &f)
			if f.n != c.want {
				t.Errorf("%v, want %d", f.err(), c.want)
			}
		})
	}
}
