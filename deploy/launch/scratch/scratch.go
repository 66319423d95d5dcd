// Package scratch gives a run that measures or breaks the product a directory of its own, with the programs under test and
// the data of real engines.
package scratch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"cartstream/deploy/engines/engine"
	"cartstream/deploy/engines/install"
)

// Dir is a directory of this run alone.
type Dir struct {
	Path  string
	Cache *install.Cache // where the real engines are installed

	lock *os.File
	next int
}

// Open installs the engines that the machine lacks, makes a directory for runs of that kind and removes those of runs that
// were killed, with what they mounted in them.
func Open(ctx context.Context, kind string, progress io.Writer) (*Dir, error) {
	cache, err := install.Open(progress)
	if err != nil {
		return nil, err
	}
	if err := cache.Ensure(ctx, install.Engines()...); err != nil {
		return nil, err
	}
	base := filepath.Join(cache.Dir(), kind)
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
			_ = Unmount(filepath.Dir(path))
			_ = os.RemoveAll(filepath.Dir(path))
			_ = f.Close()
		}
	}
	d := &Dir{Cache: cache}
	if d.Path, err = os.MkdirTemp(base, ""); err != nil {
		return nil, fmt.Errorf("make a directory for the engines: %w", err)
	}
	d.lock, err = lock(filepath.Join(d.Path, "lock"), syscall.LOCK_EX)
	return d, err
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

// Build makes these programs, as a release has them. overlay, where not "", is a file as `go build -overlay` takes it: it
// puts other text in the place of source files, which is how a deliberately broken build is made.
func (d *Dir) Build(ctx context.Context, overlay string, programs ...string) error {
	if err := os.MkdirAll(d.Program(""), 0o700); err != nil {
		return err
	}
	args := []string{"build", "-buildvcs=false", "-o", d.Program("")}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, programs...)...) //nolint:gosec // a directory of ours
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w: %s", err, out)
	}
	return nil
}

// Program is the path of a program that was built.
func (d *Dir) Program(name string) string { return filepath.Join(d.Path, "bin", name) }

// Sub makes an empty directory.
func (d *Dir) Sub(name string) (string, error) {
	d.next++
	dir := filepath.Join(d.Path, fmt.Sprintf("%d-%s", d.next, name))
	return dir, os.MkdirAll(dir, 0o700)
}

// Close removes the directory with all that is in it.
func (d *Dir) Close() error {
	err := os.RemoveAll(d.Path)
	_ = d.lock.Close()
	return err
}

// KillAll ends every engine in a directory.
func KillAll(dir string) error {
	all, err := engine.Names(dir)
	for _, name := range all {
		err = errors.Join(err, engine.Kill(dir, name))
	}
	return err
}

// Unmount takes away every file system that is mounted below a directory.
func Unmount(dir string) error {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return nil // where there is no such file nobody mounts anything
	}
	for line := range bytes.Lines(mounts) {
		at := string(bytes.Fields(line)[1])
		if !strings.HasPrefix(at, dir+string(filepath.Separator)) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		out, failed := exec.CommandContext(ctx, "umount", at).CombinedOutput() //nolint:gosec // in a directory of ours
		cancel()
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("umount %s: %w: %s", at, failed, out))
		}
	}
	return err
}

var errParentEnded = errors.New("whoever started this has ended")

// WithParent ends the context when this process gets another parent, which is when its own was killed: go run and task
// don't take their children with them.
func WithParent(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	was := os.Getppid()
	go func() {
		tick := time.NewTicker(300 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			if os.Getppid() != was {
				cancel(errParentEnded)
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}
