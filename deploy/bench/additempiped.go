package main

import (
	"context"
	"errors"
)

const pipedAbout = `
add-item-piped: add-item while api relays, Kafka takes and every consumer handles what either side adds.
  api, bare   as in add-item; the api relays what bare adds, too, so that its CPU is with the relay's and bare's is without
  A turn begins once the relay and all consumers have what the turn before left behind.

`

// addItemPiped is addItem with everything behind it at work.
func addItemPiped(ctx context.Context, b *bench) (err error) {
	s, err := b.start(ctx, everyConsumer)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	users, bare, err := s.prepareAdds(ctx)
	if err != nil {
		return err
	}
	if err := s.warmUp(ctx, users, s.api, bare); err != nil {
		return err
	}
	settings := addSettings(users)
	for round := range b.rounds {
		for _, c := range settings {
			for _, side := range []struct {
				process *process
				into    *series
			}{{s.api, &c.api}, {bare, &c.bare}} {
				if err := s.caughtUp(ctx); err != nil {
					return err
				}
				if err := s.turn(ctx, b.each, c.load, side.process, side.into); err != nil {
					return err
				}
			}
		}
		b.sayAdds(round, settings)
	}
	return b.printAdds(pipedAbout, settings)
}
