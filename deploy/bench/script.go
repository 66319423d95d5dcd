package main

import (
	"context"
	"errors"
	"fmt"
)

const (
	manyLines      = 500
	manyLinesCarts = 20
	manyCarts      = 1_000_000
)

const scriptAbout = `
script: the add's script alone, called as the api calls it, without a key: %d connections with %d calls under way each; no api, no relay.
  no-op       the same keys and arguments to a script that only answers
  1 line      %d carts of one line
  500 lines   %d carts; every add changes one of the lines
  1 M carts   %d carts of one line, on a Redis of their own
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
	for round := range b.rounds {
		if err := errors.Join(small.turn(ctx, b.each, short, 1, small.noop, &noop), small.turn(ctx, b.each, short, 1, "", &one),
			small.turn(ctx, b.each, long, manyLines, "", &full), large.turn(ctx, b.each, large.users, 1, "", &many)); err != nil {
			return err
		}
		cost := func(s series) float64 { return s.cells[1][round] }
		b.say("script: round %d of %d, Redis µs a call: %.1f, no-op %.1f, 500 lines %.1f, 1 M carts %.1f", round+1, b.rounds,
			cost(one), cost(noop), cost(full), cost(many))
	}
	if _, err := fmt.Fprintf(b.out, scriptAbout, connections, deep, len(short), len(long), len(large.users)); err != nil {
		return err
	}
	t := table{columns: []column{{"calls/s", 0}, {"Redis CPU µs", 1}, {"script µs", 1}}}
	t.compare(one, noop)
	t.compare(full, one)
	t.compare(many, one)
	if err := t.print(b.out); err != nil {
		return err
	}
	_, err = fmt.Fprintf(b.out, "Redis memory: a cart of one line %.0f bytes, its part of the indexes included; a kept answer %.0f bytes\n", cart, answer)
	return err
}
