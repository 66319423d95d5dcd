package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	manyLines      = 500
	manyLinesCarts = 20
	manyCarts      = 1_000_000
	// windowOfChanges is the width of the windows in which the index of changed carts holds them.
	windowOfChanges = 30 * time.Second
)

const scriptAbout = `
script: the add's script alone, called as the api calls it, without a key: %d connections with %d calls under way each; no api, no relay.
  no-op       the same keys and arguments to a script that only answers
  1 line      %d carts of one line
  500 lines   %d carts; every add changes one of the lines
  1 M carts   %d carts of one line, on a Redis of their own
  moved       the same, but each add is its cart's first for %v, so that the cart moves in the index of changed carts; in
              the rows above none does
  after that  adds that move no cart, each between two turns in which they do
  Redis CPU   the server's processor time a call, all told; script is what Redis itself counts for EVALSHA

`

// scriptAlone measures what an add costs Redis.
func scriptAlone(ctx context.Context, b *bench) (err error) {
	var both [2]*scripts // a Redis with a thousand carts, and one with a million
	for i := range both {
		s, err := b.start(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		if both[i], err = s.prepareScript(ctx); err != nil {
			return err
		}
		defer both[i].client.Close() //nolint:errcheck // nothing is left to say on it
	}
	small, large := both[0], both[1]
	long, short := small.users[:manyLinesCarts], small.users[manyLinesCarts:]
	if err := small.fill(ctx, long, manyLines); err != nil {
		return err
	}
	answer, err := large.keptAnswer(ctx, b.sized(manyCarts/10))
	if err != nil {
		return err
	}
	cart, err := large.grow(ctx, b.sized(manyCarts))
	if err != nil {
		return err
	}
	b.say("script: %d carts", len(large.users))
	noop, one, full, many := series{name: "no-op"}, series{name: "1 line"}, series{name: "500 lines"}, series{name: "1 M carts"}
	moved, after := series{name: "1 M carts, moved"}, series{name: "1 M carts, after that"}
	for round := range b.rounds {
		if err := errors.Join(
			small.turn(ctx, b.each, adds{users: short, books: 1, instead: small.noop, at: small.at}, &noop),
			small.turn(ctx, b.each, adds{users: short, books: 1, at: small.at}, &one),
			small.turn(ctx, b.each, adds{users: long, books: manyLines, at: small.at}, &full),
			large.turn(ctx, b.each, adds{users: large.users, books: 1, at: large.at}, &many)); err != nil {
			return err
		}
		cost := func(s series) float64 { return s.cells[1][round] }
		b.say("script: round %d of %d, Redis µs a call: %.1f, no-op %.1f, 500 lines %.1f, 1 M carts %.1f", round+1, b.rounds,
			cost(one), cost(noop), cost(full), cost(many))
	}
	for round := range b.rounds { // after all others, since adds to the same carts are slower then
		later := large.at.Add(time.Duration(round+1) * windowOfChanges)
		if err := errors.Join(
			large.turn(ctx, b.each, adds{users: large.users, books: 1, at: later}, &moved),
			large.turn(ctx, b.each, adds{users: large.users, books: 1, at: large.at}, &after)); err != nil {
			return err
		}
		b.say("script: round %d of %d, Redis µs a call: moved %.1f, after that %.1f", round+1, b.rounds, moved.cells[1][round], after.cells[1][round])
	}
	if _, err := fmt.Fprintf(b.out, scriptAbout, connections, deep, len(short), len(long), len(large.users), windowOfChanges); err != nil {
		return err
	}
	t := table{columns: []column{{"calls/s", 0}, {"Redis CPU µs", 1}, {"script µs", 1}}}
	t.compare(one, noop)
	t.compare(full, one)
	t.compare(many, one)
	t.compare(moved, many)
	t.compare(after, many)
	if err := t.print(b.out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(b.out, "Redis memory: a cart of one line %.0f bytes, its part of the indexes included; a kept answer %.0f bytes\n", cart, answer)
	return err
}
