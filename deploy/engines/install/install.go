package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"
)

// Engine is one that can be installed.
type Engine string

// The engines.
const (
	Redis   Engine = "redis"
	Kafka   Engine = "kafka"
	MongoDB Engine = "mongodb"
)

// Engines is all of them.
func Engines() []Engine { return []Engine{Redis, Kafka, MongoDB} }

// ParseEngine is the engine of that name.
func ParseEngine(name string) (Engine, error) {
	if e := Engine(name); slices.Contains(Engines(), e) {
		return e, nil
	}
	return "", fmt.Errorf("there is no engine %q, only redis, kafka and mongodb", name)
}

// Ensure makes everything available that the engines need, and costs next to nothing when it already is.
// It needs a Debian machine and root only for what is missing. Called again after an interruption it goes
// on with what was not finished.
func (c *Cache) Ensure(ctx context.Context, engines ...Engine) error {
	var steps []step
	for _, e := range engines {
		switch e {
		case Redis:
			steps = append(steps, c.redis())
		case Kafka:
			steps = append(steps, c.kafka())
		case MongoDB:
			steps = append(steps, c.documentDB(), c.ferretDB())
		}
	}
	if !missing(steps) {
		return nil
	}
	return c.exclusively(ctx, func() error {
		if !missing(steps) { // another process did it meanwhile
			return nil
		}
		if err := c.dropUnfinished(); err != nil {
			return err
		}
		if err := c.packages(ctx, steps); err != nil {
			return err
		}
		g, gctx := errgroup.WithContext(ctx)
		for _, s := range steps {
			if s.final != "" && !exists(s.final) {
				g.Go(func() error { return c.build(gctx, s.final, s.what, s.build) })
			}
		}
		err := g.Wait()
		return errors.Join(err, os.RemoveAll(c.unfinished()))
	})
}

// step is one thing to install.
type step struct {
	what   string
	runs   []program // always needed
	builds []program // needed to build final
	final  string    // where the cache keeps it; "" for what is only packages
	build  func(ctx context.Context, dir string) error
	asRoot bool // building it needs root
}

func missing(steps []step) bool {
	for _, s := range steps {
		if len(absent(s.runs)) > 0 || s.final != "" && !exists(s.final) {
			return true
		}
	}
	return false
}
