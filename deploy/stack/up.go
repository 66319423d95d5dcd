package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"cartstream/deploy/launch"
)

// The processes of a stack, in the order in which they stop.
const (
	apiProcess       = "api"
	consumersProcess = "consumers"
	enginesProcess   = "engines"
)

// up starts everything in the background and returns when it can be used. On an error, or when ctx ends, nothing
// that it started is left running. A stack that is up stays as it is.
func (s *stack) up(ctx context.Context, freePorts, embedded bool) (err error) {
	if _, err := exec.LookPath("go"); err != nil {
		return launch.ErrNoGo
	}
	unlock, err := s.exclusive()
	if err != nil {
		return err
	}
	defer unlock()

	was, err := s.state()
	if err != nil {
		return err
	}
	if s.whole(was) {
		s.say("cartstream is up already.")
		return s.welcome(ctx, was)
	}
	if stopped, err := s.halt(was); err != nil {
		return err
	} else if stopped {
		s.say("a part of it had stopped: starting everything again")
	}

	r := running{Engines: "none", Env: map[string]string{}, Notes: map[string]string{}}
	defer func() {
		if err != nil {
			_, stopErr := s.halt(r)
			err = errors.Join(interrupted(ctx, err), stopErr)
		}
	}()
	if err := s.checkEngines(ctx); err != nil {
		return err
	}
	if err := s.settle(ctx, &r, freePorts); err != nil {
		return err
	}
	if err := s.launchAll(ctx, &r, freePorts, embedded); err != nil {
		return err
	}
	if err := s.fill(ctx, r); err != nil {
		return err
	}
	s.say("cartstream is up.")
	return s.welcome(ctx, r)
}

// settle decides where the servers listen, and how tokens and links are signed.
func (s *stack) settle(ctx context.Context, r *running, freePorts bool) error {
	for _, name := range settings {
		if v := s.environ[name]; v != "" {
			r.Env[name] = v
		}
	}
	if r.Env["JWT_SECRET"] == "" && r.Env["JWT_JWKS_URL"] == "" {
		secret, err := s.secret()
		if err != nil {
			return err
		}
		r.Env["JWT_SECRET"] = secret
	}
	if err := s.listen(ctx, r.Env, freePorts); err != nil {
		return err
	}
	return s.addressing(r.Env)
}

// launchAll builds the binaries while the engines start, then starts the binaries and waits until they are ready.
func (s *stack) launchAll(ctx context.Context, r *running, freePorts, embedded bool) error {
	parts, partsCtx := errgroup.WithContext(ctx)
	parts.Go(func() error { return s.build(partsCtx) })
	parts.Go(func() error { return s.startEngines(partsCtx, r, freePorts, embedded) })
	if err := parts.Wait(); err != nil {
		return err
	}
	if err := s.keep(*r); err != nil {
		return err
	}
	environ := os.Environ()
	for name, value := range r.Env {
		environ = append(environ, name+"="+value)
	}
	for _, name := range []string{apiProcess, consumersProcess} {
		if err := s.background(name, s.path("bin", name), environ); err != nil {
			return err
		}
	}
	return s.awaitReady(ctx, *r)
}

// build compiles both binaries and this command; where nothing changed that takes a second.
func (s *stack) build(ctx context.Context) error {
	if _, err := os.Stat(s.path("bin", apiProcess)); err != nil {
		s.say("compiling: the first time takes some minutes, later ones a second")
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", s.path("bin")+string(os.PathSeparator), "./api", "./consumers", "./deploy/stack") //nolint:gosec // fixed arguments
	cmd.Dir = s.root
	// On the same file system a binary that runs, such as a watch, is replaced; it could not be written to.
	cmd.Env = append(os.Environ(), "GOTMPDIR="+s.path("tmp"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build failed: %s: %w", strings.TrimSpace(string(out)), err)
	}
	return nil
}

// whole says whether all that r's up started still runs.
func (s *stack) whole(r running) bool {
	if r.Env == nil || !s.alive(apiProcess) || !s.alive(consumersProcess) {
		return false
	}
	return r.Engines != "embedded" || s.alive(enginesProcess)
}

// halt stops whatever of r runs, servers before engines, and reports whether anything did. It goes on
// whatever fails.
func (s *stack) halt(r running) (any bool, err error) {
	var servers errgroup.Group
	var was [2]bool
	for i, name := range []string{apiProcess, consumersProcess} {
		servers.Go(func() (err error) {
			was[i], err = s.stop(name)
			return err
		})
	}
	err = servers.Wait()
	engines, enginesErr := s.stop(enginesProcess)
	if r.Engines == "docker" {
		// Its own time: what was started must be stopped even when the command was interrupted.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if dockerCompose(ctx) != nil { // else the containers went with their engine
			enginesErr = errors.Join(enginesErr, s.compose(ctx, r, nil, "down"))
		}
	}
	return was[0] || was[1] || engines, errors.Join(err, enginesErr)
}

// interrupted says in words that err came from a Ctrl-C.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted: nothing is left running")
	}
	return err
}
