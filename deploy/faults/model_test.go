package main

import (
	"testing"
	"time"

	"cartstream/schemas"
)

func TestAHistory(t *testing.T) {
	cart := func(number, quantity int64) schemas.Cart {
		return schemas.Cart{UserID: userID(0), Epoch: 1, Version: number, Items: []schemas.Line{line(1, quantity)}}
	}
	done := func(k kind, quantity, number, now int64, from, to time.Duration) op {
		return op{user: userID(0), kind: k, book: 1, quantity: quantity, result: answered, at: version{1, number}, from: from, to: to,
			change: schemas.CartChanged{Epoch: 1, Version: number, Items: []schemas.Line{line(1, now)}}}
	}
	unsure := func(quantity int64, from time.Duration) op {
		return op{user: userID(0), kind: add, book: 1, quantity: quantity, result: unknown, from: from}
	}
	late := unsure(4, 60)
	late.to = 65
	missing := op{user: userID(0), kind: remove, book: 1, result: refused, slug: "line-not-found", from: 30, to: 40}
	for claim, c := range map[string]struct {
		ops    []op
		end    schemas.Cart
		losses []time.Duration
		lost   []op
		fine   bool
	}{
		"adds add up":                             {[]op{done(add, 2, 1, 2, 0, 10), done(add, 3, 2, 5, 20, 30)}, cart(2, 5), nil, nil, true},
		"an add that is gone is a fault":          {[]op{done(add, 2, 1, 2, 0, 10), done(add, 3, 2, 5, 20, 30)}, cart(2, 2), nil, nil, false},
		"an add that came twice is a fault":       {[]op{done(add, 2, 1, 2, 0, 10)}, cart(2, 4), nil, nil, false},
		"a call of unknown outcome may have come": {[]op{done(add, 2, 1, 2, 0, 10), unsure(3, 5)}, cart(2, 5), nil, nil, true},
		"or not":                                      {[]op{done(add, 2, 1, 2, 0, 10), unsure(3, 5)}, cart(1, 2), nil, nil, true},
		"but not twice":                               {[]op{done(add, 2, 1, 2, 0, 10), unsure(3, 5)}, cart(3, 8), nil, nil, false},
		"nor before it was made":                      {[]op{done(add, 2, 1, 7, 0, 10), unsure(5, 20)}, cart(2, 7), nil, nil, false},
		"a version may not be handed out twice":       {[]op{done(add, 2, 1, 2, 0, 10), done(add, 3, 1, 5, 20, 30)}, cart(1, 5), nil, nil, false},
		"a line that is there can be removed":         {[]op{done(add, 2, 1, 2, 0, 10), missing}, cart(1, 2), nil, nil, false},
		"what was refused before a loss says nothing": {[]op{done(add, 2, 1, 2, 0, 10), missing}, cart(1, 2), []time.Duration{50}, nil, true},
		"a change that is known to be lost is left out": {[]op{done(add, 2, 1, 2, 0, 10), done(add, 3, 2, 5, 20, 30)}, cart(1, 2), []time.Duration{50},
			[]op{done(add, 3, 2, 5, 20, 30)}, true},
		"a call of unknown outcome may have come also where others were lost": {[]op{done(add, 2, 1, 2, 0, 10), done(add, 3, 2, 5, 20, 30), late, done(add, 1, 3, 7, 110, 120)},
			cart(3, 7), []time.Duration{50, 100}, []op{done(add, 3, 2, 5, 20, 30)}, true},
		"all others are not": {[]op{done(add, 2, 1, 2, 0, 10), done(add, 3, 2, 5, 20, 30), done(add, 1, 3, 3, 60, 70)}, cart(3, 2), []time.Duration{50},
			[]op{done(add, 3, 2, 5, 20, 30)}, false},
	} {
		t.Run(claim, func(t *testing.T) {
			l := &load{}
			l.ops[0].ops = c.ops
			e := &ending{carts: map[string]schemas.Cart{userID(0): c.end}, read: time.Second, stories: map[string]*story{}}
			var f faults
			l.linearizable(e, c.lost, c.losses, &f)
			if (f.n == 0) != c.fine {
				t.Errorf("faults: %v, want fine: %v", f.err(), c.fine)
			}
		})
	}
}

// A change may be read before it is acknowledged. Where Redis loses it and Kafka gets it only after that, it is superseded.
func TestWhatWasReadOfALostChangeSaysNothing(t *testing.T) {
	first, second := changed(1, 1, schemas.ItemAdded, 1, 2), changed(1, 2, schemas.ItemAdded, 1, 5)
	later := changed(5, 2, schemas.ItemAdded, 2, 1, line(1, 2))
	answer := func(book int, quantity int64, c schemas.CartChanged, from, to time.Duration) op {
		return op{user: userID(0), kind: add, book: book, quantity: quantity, result: answered, at: version{c.Epoch, c.Version}, change: c, from: from, to: to}
	}
	read := op{user: userID(0), kind: get, result: answered, at: version{1, 2}, cart: schemas.Cart{Epoch: 1, Version: 2, Items: []schemas.Line{line(1, 5)}}, from: 20, to: 30}
	for claim, c := range map[string]struct {
		changes []schemas.CartChanged
		losses  []time.Duration
		fine    bool
	}{
		"it came too late":                 {[]schemas.CartChanged{first, second, later}, []time.Duration{50}, true},
		"it never came":                    {[]schemas.CartChanged{first, later}, []time.Duration{50}, true},
		"but Redis lost nothing":           {[]schemas.CartChanged{first, second, later}, nil, false},
		"but Redis lost something earlier": {[]schemas.CartChanged{first, second, later}, []time.Duration{15}, false},
	} {
		t.Run(claim, func(t *testing.T) {
			s, err := told(c.changes...)
			if err != nil {
				t.Fatal(err)
			}
			l := &load{}
			l.ops[0].ops = []op{answer(1, 2, first, 0, 10), read, answer(2, 1, later, 60, 70)}
			e := &ending{carts: map[string]schemas.Cart{userID(0): s.cart}, read: time.Second, stories: map[string]*story{userID(0): s}}
			var f faults
			l.linearizable(e, nil, c.losses, &f)
			if (f.n == 0) != c.fine {
				t.Errorf("faults: %v, want fine: %v", f.err(), c.fine)
			}
		})
	}
}
