package main

import (
	"context"

	"cartstream/consumers/runner"
)

// beside is what runs beside a consumer, and rests while it is paused.
type beside interface {
	Run(ctx context.Context) error
	Pause()
	Resume()
}

// switches pause consumers with what runs beside them.
type switches struct {
	*runner.Runner
	beside map[string]beside // by consumer
}

func (s switches) Pause(name string) error {
	if b := s.beside[name]; b != nil {
		b.Pause()
	}
	return s.Runner.Pause(name)
}

func (s switches) Resume(name string) error {
	if b := s.beside[name]; b != nil {
		b.Resume()
	}
	return s.Runner.Resume(name)
}
