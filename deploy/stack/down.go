package main

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// down stops what up started: the servers drain first. Engines that the environment named are left alone. The
// data stays, unless volumes asks to delete what the engines that up started keep.
func (s *stack) down(ctx context.Context, volumes bool) error {
	unlock, err := s.exclusive()
	if err != nil {
		return err
	}
	defer unlock()
	r, err := s.state()
	if err != nil {
		return err
	}
	stopped, err := s.halt(r)
	if err != nil {
		return err
	}
	if stopped {
		s.say("cartstream is down.")
	} else {
		s.say("nothing of cartstream was running.")
	}
	if volumes {
		if err := s.deleteData(ctx, r); err != nil {
			return err
		}
		s.say("its data is deleted.")
	}
	// What Docker keeps is only found again through its command.
	if r.Engines == "docker" && !volumes {
		return s.keep(running{Compose: r.Compose})
	}
	if err := os.Remove(s.path("run", "stack.json")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget what ran: %w", err)
	}
	return nil
}

// deleteData removes what the embedded engines keep and Docker's volumes.
func (s *stack) deleteData(ctx context.Context, r running) error {
	if err := os.RemoveAll(s.path("data")); err != nil {
		return fmt.Errorf("delete the data: %w", err)
	}
	if len(r.Compose) > 0 {
		return s.compose(ctx, r, nil, "down", "--volumes")
	}
	return nil
}
