package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A background process is known by a file that it, and every child of it, holds locked: the lock goes with the
// last of them, however they end, so neither a stale file nor a reused pid can deceive. The file's text is the
// process's id.

// stopWithin is how long a process may drain before it is killed.
const stopWithin = 45 * time.Second

const lookEvery = 20 * time.Millisecond

func (s *stack) pidFile(name string) string { return s.path("run", name+".pid") }

func (s *stack) logFile(name string) string { return s.path("logs", name+".log") }

// background starts command as name in a session of its own, with its output in a fresh log.
func (s *stack) background(name, command string, env []string) error {
	log, err := s.openLog(name)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(command) //nolint:noctx // outlives this command
	cmd.Env = env
	cmd.Dir = s.root
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return s.track(name, func(held *os.File) (int, error) {
		cmd.ExtraFiles = []*os.File{held}
		if err := cmd.Start(); err != nil {
			return 0, fmt.Errorf("start %s: %w", name, err)
		}
		go func() { _ = cmd.Wait() }() // else it would stay as a zombie while this command waits for it
		return cmd.Process.Pid, nil
	})
}

// openLog returns an empty log; the one before is kept as NAME.log.1.
func (s *stack) openLog(name string) (*os.File, error) {
	path := s.logFile(name)
	if err := os.Rename(path, path+".1"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600) //nolint:gosec // in our own directory
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	return f, nil
}

// track locks the file of name for the process that start starts and that must inherit held.
func (s *stack) track(name string, start func(held *os.File) (pid int, err error)) error {
	f, err := os.OpenFile(s.pidFile(name), os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("%s is running already", name)
	}
	pid, err := start(f)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(f, pid); err != nil {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
		return fmt.Errorf("start %s: %w", name, err)
	}
	return nil
}

// alive says whether the process of that name, or a child that it left, still runs.
func (s *stack) alive(name string) bool {
	f, err := os.OpenFile(s.pidFile(name), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil
}

// stop asks the process to drain and returns when it and its children are gone, killed if need be. It reports
// whether there was one.
func (s *stack) stop(name string) (was bool, err error) {
	if !s.alive(name) {
		return false, nil
	}
	b, err := os.ReadFile(s.pidFile(name))
	if err != nil {
		return true, fmt.Errorf("stop %s: %w", name, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return true, fmt.Errorf("stop %s: its id is missing in %s", name, s.pidFile(name))
	}
	_ = syscall.Kill(pid, syscall.SIGTERM)
	deadline := time.Now().Add(stopWithin)
	for s.alive(name) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			if time.Now().After(deadline.Add(5 * time.Second)) {
				return true, fmt.Errorf("stop %s: process %d does not end", name, pid)
			}
		}
		time.Sleep(lookEvery)
	}
	return true, nil
}

// lastWords is what a process said last, for an error of one sentence: the lines of plain text at the end of its log, such
// as the faults of an environment, or the message and the error of its last record.
func lastWords(path string) string {
	f, err := os.Open(path) //nolint:gosec // a log of ours
	if err != nil {
		return "no log"
	}
	defer func() { _ = f.Close() }()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-4096), io.SeekStart)
	}
	b, _ := io.ReadAll(f)
	var words []string
	for _, line := range slices.Backward(strings.Split(strings.TrimSpace(string(b)), "\n")) {
		if !strings.HasPrefix(line, "{") {
			words = append(words, strings.TrimSpace(line))
			continue
		}
		var record struct{ Msg, Error string }
		if len(words) == 0 && json.Unmarshal([]byte(line), &record) == nil {
			words = []string{strings.Trim(record.Msg+": "+record.Error, ": ")}
		}
		break
	}
	slices.Reverse(words)
	return cmp.Or(strings.Join(words, "; "), "it logged nothing")
}

// pause waits for d, or returns ctx's error at once when that ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
