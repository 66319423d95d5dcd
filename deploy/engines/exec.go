package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"cartstream/deploy/engines/engine"
	"cartstream/deploy/engines/install"
)

// exec runs a command with engines that nobody else uses, on free ports, and with their addresses in its
// environment. They and their data are gone when it ends, when ctx ends, and when this process or the one
// that started it is killed. A command that fails by itself is a commandError.
func (s *stack) exec(ctx context.Context, engines []install.Engine, command []string) (err error) {
	if err := s.cache.Ensure(ctx, engines...); err != nil {
		return err
	}
	unlock, err := s.scratch(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go cancelWithParent(ctx, cancel)

	s.owned = true
	defer func() {
		err = errors.Join(err, s.kill(), os.RemoveAll(s.dir))
	}()
	if err := s.startAll(ctx, engines); err != nil {
		return err
	}
	known, err := readAddresses(s.dir)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // what the caller asks for
	cmd.Env = append(os.Environ(), known.environ(s.dir)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()
	var ended *exec.ExitError
	if ctx.Err() == nil && errors.As(err, &ended) && ended.ExitCode() > 0 {
		return commandError(ended.ExitCode())
	}
	return err
}

// commandError is the exit code of a command that exec ran and that failed.
type commandError int

func (e commandError) Error() string {
	return fmt.Sprintf("the command ended with exit code %d", int(e))
}

// scratch makes a directory for this call alone, its own until unlock, and removes those of calls that
// were killed.
func (s *stack) scratch(ctx context.Context) (unlock func(), err error) {
	base := filepath.Join(s.cache.Dir(), "scratch")
	done, err := s.lock(ctx, base)
	if err != nil {
		return nil, err
	}
	defer done()
	old, err := filepath.Glob(filepath.Join(base, "*", "busy"))
	if err != nil {
		return nil, err
	}
	for _, busy := range old {
		dir := filepath.Dir(busy)
		f, err := tryLock(dir)
		if err != nil {
			continue // its call lives
		}
		_ = os.RemoveAll(dir)
		_ = f.Close()
	}
	if s.dir, err = os.MkdirTemp(base, ""); err != nil {
		return nil, fmt.Errorf("make a directory for the engines: %w", err)
	}
	return s.lock(ctx, s.dir)
}

// kill ends the engines without ceremony: their data is thrown away.
func (s *stack) kill() error {
	names, err := engine.Names(s.dir)
	for _, name := range names {
		err = errors.Join(err, engine.Kill(s.dir, name))
	}
	return err
}

var errParentEnded = errors.New("whoever started this has ended")

// cancelWithParent cancels when this process gets another parent, which is when its own was killed.
func cancelWithParent(ctx context.Context, cancel context.CancelCauseFunc) {
	was := os.Getppid()
	for ctx.Err() == nil {
		if os.Getppid() != was {
			cancel(errParentEnded)
		}
		select {
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
}
