// Command mutants breaks the product on purpose, in one place at a time, and makes sure that the test or scenario which is
// there for it fails. It ends with 1 where one doesn't.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

var errSurvived = errors.New("not caught")

// run runs the mutants that args name, all without a name, the fast ones with -fast.
func run(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("mutants", flag.ContinueOnError)
	fast := fs.Bool("fast", false, "only the three that are caught fastest")
	list := fs.Bool("list", false, "say which there are, and run none")
	if err := fs.Parse(args); err != nil {
		return err
	}
	chosen, err := choose(fs.Args(), *fast)
	if err != nil {
		return err
	}
	if *list {
		for _, m := range chosen {
			if _, err := fmt.Fprintf(out, "%-24s %s; caught by %s\n", m.name, m.breaks, m.caught); err != nil {
				return err
			}
		}
		return nil
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	h := &hunt{root: root, sound: map[catcher]error{}, out: out}
	var survived, untried []string
	for _, m := range chosen {
		began := time.Now()
		err := h.one(ctx, m)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		said := "caught by"
		switch {
		case errors.Is(err, errSurvived):
			survived, said = append(survived, m.name), "NOT caught by"
		case err != nil:
			untried, said = append(untried, m.name), fmt.Sprintf("could not be tried: %v, by", err)
		}
		if _, err := fmt.Fprintf(out, "%-24s %s %s (%.0f s)\n", m.name, said, m.caught, time.Since(began).Seconds()); err != nil {
			return err
		}
	}
	if len(untried) > 0 {
		return fmt.Errorf("%w: %s; not tried: %s", errSurvived, strings.Join(survived, ", "), strings.Join(untried, ", "))
	}
	if len(survived) > 0 {
		return fmt.Errorf("%w: %s", errSurvived, strings.Join(survived, ", "))
	}
	_, err = fmt.Fprintf(out, "%d broken builds, all caught\n", len(chosen))
	return err
}

func choose(names []string, fast bool) (chosen []mutant, err error) {
	for _, m := range mutants {
		if (len(names) == 0 || slices.Contains(names, m.name)) && (!fast || m.fast) {
			chosen = append(chosen, m)
		}
	}
	if len(chosen) == 0 || len(names) > len(chosen) {
		return nil, fmt.Errorf("there are not all of the mutants %q", names)
	}
	return chosen, nil
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// hunt tries mutants against what should catch them.
type hunt struct {
	root  string
	sound map[catcher]error // catchers that were seen to pass on the product as it is
	out   io.Writer
}

// one returns errSurvived where the mutant isn't caught, and another error where that can't be said: where it doesn't
// build, or its catcher fails without it too.
func (h *hunt) one(ctx context.Context, m mutant) error {
	files, err := m.apply(h.root)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "cartstream-mutant-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // files of no more use
	at, err := overlay(h.root, dir, files)
	if err != nil {
		return err
	}
	build := h.command(ctx, "go", "build", "-overlay", at, "./api/...", "./consumers/...")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s does not build: %w: %s", m.name, err, text)
	}
	if _, known := h.sound[m.caught]; !known && m.caught.scenario == "" {
		failed, text, err := h.try(ctx, m.caught, "")
		if err == nil && failed {
			err = fmt.Errorf("%s fails on the product as it is, so it proves nothing: %s", m.caught, text)
		}
		h.sound[m.caught] = err
	}
	if err := h.sound[m.caught]; err != nil {
		return err
	}
	failed, text, err := h.try(ctx, m.caught, at)
	if err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	if !failed {
		return fmt.Errorf("%s: %w: %s", m.name, errSurvived, text)
	}
	return nil
}

// try reports whether the catcher found a fault, and the end of what it said.
func (h *hunt) try(ctx context.Context, c catcher, overlay string) (failed bool, said []byte, err error) {
	cmd := h.command(ctx, "go", "test", "-count=1", "-timeout=5m", "-run=^"+c.test+"$", "./"+c.folder)
	found := []string{"--- FAIL", "panic: "}
	if c.scenario != "" {
		cmd = h.command(ctx, "go", "run", "./deploy/faults", "-overlay", overlay, c.scenario)
		found = []string{"the contract was broken"}
	} else if overlay != "" {
		// In the environment, so that a test that builds the product itself builds the broken one.
		cmd.Env = append(cmd.Environ(), "GOFLAGS=-overlay="+overlay)
	}
	text, err := cmd.CombinedOutput()
	said = text[max(0, len(text)-1500):]
	if err == nil {
		if bytes.Contains(text, []byte("no tests to run")) {
			return false, said, fmt.Errorf("there is no %s", c)
		}
		return false, said, nil
	}
	for _, f := range found {
		if bytes.Contains(text, []byte(f)) {
			return true, said, nil
		}
	}
	return false, said, fmt.Errorf("%s could not be run: %w: %s", c, err, said)
}

func (h *hunt) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = h.root
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}
