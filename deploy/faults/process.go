package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"cartstream/deploy/engines/engine"
)

// readyWithin bounds how long a program of ours may take until it serves.
const readyWithin = time.Minute

// process is one of ours, on an address that it keeps over restarts. The kernel ends it with this process.
type process struct {
	name, path, addr string
	env              []string
	log              string

	cmd    *exec.Cmd
	ended  chan struct{}
	killed bool
}

func newProcess(name, path, variable, addr, dir string, env []string) *process {
	return &process{name: name, path: path, addr: addr, log: filepath.Join(dir, name+".log"), env: append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GOTRACEBACK=all", "GOMAXPROCS=2", variable + "=" + addr}, env...)}
}

// Start starts the process and doesn't wait until it serves.
func (p *process) Start(ctx context.Context) error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()                                               //nolint:errcheck // the process keeps its own copy
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), p.path) //nolint:gosec // what was just built
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = p.env, log, log
	if err := engine.StartOwned(p.cmd); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	p.ended, p.killed = make(chan struct{}), false
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait() // how it ended is in its log
		close(ended)
	}(p.cmd, p.ended)
	return nil
}

// kind is what the process is one of.
func (p *process) kind() string { return filepath.Base(p.path) }

// logged is all that the process has said.
func (p *process) logged() []byte {
	text, _ := os.ReadFile(p.log)
	return text
}

// Pid is the running process's id.
func (p *process) Pid() int { return p.cmd.Process.Pid }

// Kill ends the process as a crash would. One that has ended is no error.
func (p *process) Kill() error {
	if p.cmd == nil {
		return nil
	}
	p.killed = true
	_ = p.cmd.Process.Kill()
	<-p.ended
	return nil
}

// Stop asks the process to end in order and waits.
func (p *process) Stop(ctx context.Context) error {
	p.killed = true
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(30 * time.Second):
		return fmt.Errorf("%s did not end within 30 s of SIGTERM", p.name)
	}
}

// alive returns an error when the process ended though nobody ended it.
func (p *process) alive() error {
	select {
	case <-p.ended:
		if !p.killed {
			return fmt.Errorf("%s ended by itself: %s", p.name, tail(p.logged(), 600))
		}
	default:
	}
	return nil
}

// ready waits until the process says that it can do all that it is there for.
func (p *process) ready(ctx context.Context) error {
	err := until(ctx, readyWithin, func(ctx context.Context) error {
		a, err := send(ctx, p.addr, "", call{method: http.MethodGet, path: "/readyz"})
		if err == nil && (a.status != http.StatusOK || !bytes.Contains(a.body, []byte(`"status":"ready"`))) {
			err = fmt.Errorf("%d %s", a.status, a.body)
		}
		return err
	})
	if err != nil {
		return errors.Join(fmt.Errorf("%s is not ready: %w", p.name, err), p.alive())
	}
	return nil
}

func tail(text []byte, n int) []byte { return text[max(0, len(text)-n):] }
