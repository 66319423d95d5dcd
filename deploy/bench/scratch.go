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

// scratch is a directory of this run alone, with the programs to measure and the engines' data.
type scratch struct {
	dir   string
	cache *install.Cache
	lock  *os.File
	next  int
}

// openScratch makes the directory and removes those of runs that were killed.
func openScratch(ctx context.Context, progress io.Writer) (*scratch, error) {
	cache, err := install.Open(progress)
	if err != nil {
		return nil, err
	}
	if err := cache.Ensure(ctx, install.Engines()...); err != nil {
		return nil, err
	}
	base := filepath.Join(cache.Dir(), "bench")
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

// build makes the programs to measure, as a release has them.
func (s *scratch) build(ctx context.Context) error {
	if err := os.MkdirAll(s.program(""), 0o700); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", s.program(""), //nolint:gosec // a directory of ours
		"cartstream/api", "cartstream/consumers", "cartstream/deploy/bench/baseline", "cartstream/deploy/bench/gateway")
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
			select {
			case <-ctx.Done():
			case <-time.After(300 * time.Millisecond):
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}
