package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
)

const getAbout = `
get-cart: GET /v1/cart of one of %d users, 16 connections that wait for their answers. The relay is held, nothing changes.
  api    token checked, rate limit on (never reached), the shard's generation checked in a script, lines in order
  bare   Gin, one HGETALL a request, the hash sent on as JSON; it knows no 304
  304    carts of 10 lines; the api is asked with If-None-Match

`

// getSizes are the numbers of lines that the carts have.
var getSizes = []int{1, 10, 100}

// getSetting is what is asked for, and what both sides made of it.
type getSetting struct {
	name      string
	lines     int
	fresh     bool
	api, bare series
}

// getCart measures reading.
func getCart(ctx context.Context, b *bench) (err error) {
	s, err := b.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	each := b.sized(50)
	users, bare, err := s.prepareGets(ctx, each)
	if err != nil {
		return err
	}
	var settings []*getSetting
	for _, lines := range getSizes {
		settings = append(settings, &getSetting{name: fmt.Sprintf("lines: %d", lines), lines: lines})
	}
	settings = append(settings, &getSetting{name: "304", lines: 10, fresh: true})
	for round := range b.rounds {
		for _, c := range settings {
			c.api.name, c.bare.name = "  api", "  bare"
			plain, err := reads(ctx, s.api.addr, users[c.lines], false)
			if err != nil {
				return err
			}
			api := plain
			if c.fresh {
				if api, err = reads(ctx, s.api.addr, users[c.lines], true); err != nil {
					return err
				}
			}
			if err := errors.Join(s.turn(ctx, b.each, api, s.api, &c.api), s.turn(ctx, b.each, plain, bare, &c.bare)); err != nil {
				return err
			}
		}
		b.say("get-cart: round %d of %d", round+1, b.rounds)
	}
	t := table{columns: turnColumns}
	for _, c := range settings {
		t.head(c.name)
		t.compare(c.api, c.bare)
	}
	if _, err := fmt.Fprintf(b.out, getAbout, each*len(getSizes)); err != nil {
		return err
	}
	return t.print(b.out)
}

// prepareGets gives users carts of each size, each users a size, by adding as anyone would, and starts the bare handlers.
func (s *stack) prepareGets(ctx context.Context, each int) (users map[int][]caller, bare *process, err error) {
	if err := s.createBooksUpTo(ctx, getSizes[len(getSizes)-1]); err != nil {
		return nil, nil, err
	}
	all, err := callers(each * len(getSizes))
	if err != nil {
		return nil, nil, err
	}
	calls, err := s.record(ctx, all) // each has a line of book 0 then
	if err != nil {
		return nil, nil, err
	}
	c, err := dial(ctx, s.api.addr)
	if err != nil {
		return nil, nil, err
	}
	defer c.conn.Close() //nolint:errcheck // nothing is left to say on it
	users = map[int][]caller{}
	for i, lines := range getSizes {
		users[lines] = all[i*each : (i+1)*each]
		for _, u := range users[lines] {
			for book := 1; book < lines; book++ {
				if _, err := c.add(u, bookID(book), ""); err != nil {
					return nil, nil, err
				}
			}
		}
	}
	if bare, err = s.bare(ctx, calls); err != nil {
		return nil, nil, err
	}
	return users, bare, s.holdRelay()
}

// reads is a load of GET by the users, where fresh is set with the tag that their cart has now.
func reads(ctx context.Context, addr string, users []caller, fresh bool) (load, error) {
	c, err := dial(ctx, addr)
	if err != nil {
		return load{}, err
	}
	defer c.conn.Close() //nolint:errcheck // nothing is left to say on it
	status, requests := "200", make([][]byte, len(users))
	for i, u := range users {
		requests[i] = u.get("")
		if !fresh {
			continue
		}
		tag, err := c.send(requests[i], status)
		if err != nil {
			return load{}, err
		}
		requests[i] = u.get(string(tag))
	}
	if fresh {
		status = "304"
	}
	return load{connections: 16, ask: func(c *client) error {
		_, err := c.send(requests[rand.IntN(len(requests))], status) //nolint:gosec // nothing secret about a load
		return err
	}}, nil
}
