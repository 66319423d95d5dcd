package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"cartstream/deploy/launch"
)

// run builds both binaries and runs them in the foreground, on the engines that the environment names. When ctx ends
// (the first Ctrl-C) both drain, which is no error; a second Ctrl-C kills them. When one of them ends by itself, the
// other is stopped and that is an error.
func (s *stack) run(ctx context.Context) error {
	if _, err := exec.LookPath("go"); err != nil {
		return launch.ErrNoGo
	}
	if err := s.checkEngines(ctx); err != nil {
		return err
	}
	r := running{Env: map[string]string{}}
	if err := s.settle(ctx, &r, false); err != nil {
		return err
	}
	if err := s.build(ctx); err != nil {
		return interrupted(ctx, err)
	}

	type end struct {
		name string
		err  error
	}
	names := []string{apiProcess, consumersProcess}
	ends := make(chan end, len(names))
	left := map[string]*os.Process{}
	signalAll := func(sig os.Signal) {
		for _, p := range left {
			_ = p.Signal(sig)
		}
	}
	var failure error
	for _, name := range names {
		cmd := s.foreground(name, r)
		if err := cmd.Start(); err != nil {
			failure = fmt.Errorf("start %s: %w", name, err)
			break
		}
		left[name] = cmd.Process
		go func() { ends <- end{name, cmd.Wait()} }()
	}
	if failure != nil {
		signalAll(syscall.SIGTERM)
	}

	again := make(chan os.Signal, 2)
	signal.Notify(again, syscall.SIGINT)
	defer signal.Stop(again)
	asked := ctx.Done()
	for interrupts := 0; len(left) > 0; {
		select {
		case <-asked:
			asked = nil
			s.say("draining")
			signalAll(syscall.SIGTERM)
		case <-again:
			if interrupts++; interrupts > 1 {
				signalAll(syscall.SIGKILL)
			}
		case e := <-ends:
			delete(left, e.name)
			if failure == nil && ctx.Err() == nil {
				failure = fmt.Errorf("%s ended by itself: %w", e.name, cmp.Or(e.err, errors.New("exit status 0")))
				signalAll(syscall.SIGTERM)
			} else if ctx.Err() != nil && e.err != nil {
				failure = fmt.Errorf("%s did not drain in order: %w", e.name, e.err)
			}
		}
	}
	return failure
}

// foreground is a binary of ours on this terminal, whose Ctrl-C it gets only through us.
func (s *stack) foreground(name string, r running) *exec.Cmd {
	cmd := exec.Command(s.path("bin", name)) //nolint:noctx,gosec // drains when told to; it is our own build
	cmd.Env = os.Environ()
	for key, value := range r.Env {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	cmd.Stdout, cmd.Stderr = s.out, s.progress
	cmd.SysProcAttr = endWithParent()
	return cmd
}
