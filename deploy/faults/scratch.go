package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"cartstream/deploy/engines/engine"
	"cartstream/deploy/engines/install"
)

// scratch is a directory of this run alone, with the programs under test and the engines' data.
type scratch struct {
	dir   string
	cache *install.Cache
	lock  *os.File
	next  int
}

// openScratch installs what the machine lacks, makes the directory and removes those of runs that were killed.
func openScratch(ctx context.Context, progress io.Writer) (*scratch, error) {
	cache, err := install.Open(progress)
	if err != nil {
		return nil, err
	}
	if err := cache.Ensure(ctx, install.Engines()...); err != nil {
		return nil, err
	}
	base := filepath.Join(cache.Dir(), "faults")
	if err := os.MkdirAll(base, 0o700); err != nil {
		return nil, fmt.Errorf("make a directory for the engines: %w", err)
	}
	alone, err := lock(filepath.Join(base, "lock"), syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer alone.Close() //nolint:errcheck // nothing was written
	old, err := filepath.Glob(filepath.Join(base, "*", "lock"))
	if err != nil {
		return nil, err
	}
	for _, path := range old {
		if f, err := lock(path, syscall.LOCK_EX|syscall.LOCK_NB); err == nil { // else its run lives
			_ = os.RemoveAll(filepath.Dir(path))
			_ = f.Close()
		}
	}
	s := &scratch{cache: cache}
	if s.dir, err = os.MkdirTemp(base, ""); err != nil {
		return nil, fmt.Errorf("make a directory for the engines: %w", err)
	}
	s.lock, err = lock(filepath.Join(s.dir, "lock"), syscall.LOCK_EX)
	return s, err
}

func lock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // in a directory of ours
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// build makes api and consumers, once for all scenarios. overlay, where not "", is a file as `go build -overlay` takes
// it: it puts other text in the place of source files, which is how a deliberately broken build is made.
func (s *scratch) build(ctx context.Context, overlay string) error {
	if err := os.MkdirAll(s.program(""), 0o700); err != nil {
		return err
	}
	args := []string{"build", "-buildvcs=false", "-o", s.program("")}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "cartstream/api", "cartstream/consumers")...) //nolint:gosec // a directory of ours
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w: %s", err, out)
	}
	return nil
}

func (s *scratch) program(name string) string { return filepath.Join(s.dir, "bin", name) }

// sub makes an empty directory.
func (s *scratch) sub(name string) (string, error) {
	s.next++
	dir := filepath.Join(s.dir, fmt.Sprintf("%d-%s", s.next, name))
	return dir, os.MkdirAll(dir, 0o700)
}

func (s *scratch) close() error {
	err := os.RemoveAll(s.dir)
	_ = s.lock.Close()
	return err
}

// killAll ends every engine in dir.
func killAll(dir string) error {
	all, err := engine.Names(dir)
	for _, name := range all {
		err = errors.Join(err, engine.Kill(dir, name))
	}
	return err
}

var errParentEnded = errors.New("whoever started this has ended")

// withParent ends the context when this process gets another parent, which is when its own was killed: go run and task
// don't take their children with them.
func withParent(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	was := os.Getppid()
	go func() {
		for ctx.Err() == nil {
			if os.Getppid() != was {
				cancel(errParentEnded)
			}
			_ = pause(ctx, 300*time.Millisecond)
		}
	}()
	return ctx, func() { cancel(nil) }
}

// pause waits, or returns ctx's error when that ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// until repeats f until it succeeds, and returns its last error when the time is over.
func until(ctx context.Context, within time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var last error
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // what fails because the time is over says nothing
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return last
		}
	}
}
