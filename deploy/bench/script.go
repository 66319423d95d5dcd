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
  1 M carts   %d carts of one line; measured after the others, so its ratio is not of the same minute
  Redis CPU   the server's processor time a call, all told; script is what Redis itself counts for EVALSHA

`

// scriptAlone measures what an add costs Redis.
func scriptAlone(ctx context.Context, b *bench) (err error) {
	s, err := b.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r, err := s.prepareScript(ctx)
	if err != nil {
		return err
	}
	defer r.client.Close() //nolint:errcheck // nothing is left to say on it
	long, short := r.users[:manyLinesCarts], r.users[manyLinesCarts:]
	if err := r.fill(ctx, long, manyLines); err != nil {
		return err
	}
	noop, one, full, many := series{name: "no-op"}, series{name: "1 line"}, series{name: "500 lines"}, series{name: "1 M carts"}
	for round := range b.rounds {
		if err := errors.Join(r.turn(ctx, b.each, short, 1, r.noop, &noop), r.turn(ctx, b.each, short, 1, "", &one),
			r.turn(ctx, b.each, long, manyLines, "", &full)); err != nil {
			return err
		}
		b.say("script: round %d of %d, Redis µs a call: %.1f, no-op %.1f, 500 lines %.1f", round+1, b.rounds,
			one.cells[1][round], noop.cells[1][round], full.cells[1][round])
	}
	answer, err := r.keptAnswer(ctx, b.sized(manyCarts/10))
	if err != nil {
		return err
	}
	cart, err := r.grow(ctx, b.sized(manyCarts))
	if err != nil {
		return err
	}
	for range b.rounds {
		if err := r.turn(ctx, b.each, r.users[manyLinesCarts:], 1, "", &many); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(b.out, scriptAbout, connections, deep, len(short), len(long), len(r.users)-len(long)); err != nil {
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
