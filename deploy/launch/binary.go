// Package launch builds and starts the embedded engines (the module deploy/embedded) for whoever
// needs them: the local stack and the tests. That module is never linked into the product; this
// package only needs the go command.
package launch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// ErrNoGo means that the go command, which everything here is built with, is not in the PATH.
var ErrNoGo = errors.New("no go command in PATH: install Go 1.26 or newer from https://go.dev/dl")

// ErrNoSource means that the working directory is not inside a checkout of cartstream.
var ErrNoSource = errors.New("run this inside a checkout of cartstream")

// Root returns the checkout's directory: the nearest one upwards that holds deploy/embedded.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the checkout: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "deploy", "embedded", "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", ErrNoSource
		}
		dir = parent
	}
}

// Binary returns the path of the embedded engines' binary, built from the checkout's source: at once
// where that source was built before, else after a minute or so of compiling, during which other
// processes that want it wait instead of compiling it a second time. ctx ends a build, not the wait.
func Binary(ctx context.Context) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	source := filepath.Join(root, "deploy", "embedded")
	key, err := sourceKey(source)
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "cartstream", "embedded")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("keep the embedded engines: %w", err)
	}
	path := filepath.Join(dir, "embedded-"+key)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}

	unlock, err := lock(path + ".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil // built while this process waited
	}
	return path, build(ctx, source, path)
}

// build leaves the binary at path complete or not at all.
func build(ctx context.Context, source, path string) error {
	if _, err := exec.LookPath("go"); err != nil {
		return ErrNoGo
	}
	unfinished := path + ".unfinished"
	// FerretDB's PostgreSQL backend is never used; without it the build is a quarter faster.
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", "ferretdb_no_postgresql", "-o", unfinished, ".") //nolint:gosec // fixed arguments
	cmd.Dir = source
	// A race detector or a target asked for the tests must not reach the engines.
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the embedded engines: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	return os.Rename(unfinished, path)
}

// sourceKey names a build by what goes into it.
func sourceKey(source string) (string, error) {
	files, err := filepath.Glob(filepath.Join(source, "*.go"))
	if err != nil {
		return "", err
	}
	files = append(files, filepath.Join(source, "go.mod"), filepath.Join(source, "go.sum"))
	sum := sha256.New()
	_, _ = fmt.Fprintln(sum, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := os.Open(file) //nolint:gosec // a file of the checkout
		if err != nil {
			return "", fmt.Errorf("read the embedded engines' source: %w", err)
		}
		_, _ = fmt.Fprintln(sum, filepath.Base(file))
		_, err = io.Copy(sum, f)
		_ = f.Close()
		if err != nil {
			return "", fmt.Errorf("read the embedded engines' source: %w", err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// lock waits for the file and holds it until unlock or the end of this process.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // inside our own cache directory
	if err != nil {
		return nil, fmt.Errorf("lock the build: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock the build: %w", err)
	}
	return func() { _ = f.Close() }, nil
}
