// Package engine runs the real engines that cartstream stands on as plain processes of this machine:
// Redis alone, with replicas or as a cluster, Kafka of one or more nodes, and a MongoDB-compatible
// database. Every process can be killed and started again on its port and data, which is what tests of
// faults need. What isn't on the machine yet comes with package install.
package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// How long an engine may take until it answers, and until it has ended after it was asked to.
const (
	readyWithin = 90 * time.Second
	stopWithin  = 20 * time.Second
	lookEvery   = 20 * time.Millisecond
)

// ErrRunning says that the process, or a child of it, still runs in the directory.
var ErrRunning = errors.New("is already running")

// ErrPortTaken says that something else listens on the port that an engine should have.
var ErrPortTaken = errors.New("is taken by another process")

// Process is one engine process that was started and answered.
//
// Unless it was started detached, the kernel ends it together with the process that started it,
// however that one ends. A Process is for one goroutine at a time.
type Process struct {
	Name string // as in the names of its files, such as kafka-2
	Addr string // host:port
	Log  string // the file with its output

	dir      string
	args     []string
	detached bool
	ready    func(context.Context) error

	pid   int
	ended chan struct{}
}

// Pid is the process's id; it stays the same until Start is called again.
func (p *Process) Pid() int { return p.pid }

// Ended is closed when the process has ended, whoever ended it. Start makes a new channel.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// lock is the file that the process and all its children hold open and locked as descriptor 3. The lock
// goes with the last of them, so neither a stale file nor a reused pid can deceive.
func (p *Process) lock() string { return lockFile(p.dir, p.Name) }

// Start runs the process and returns once it answers. On an error nothing of it is left. Afterwards the
// same call starts it again, on the same port and data, when it has ended.
func (p *Process) Start(ctx context.Context) error {
	if err := p.spawn(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	var last error
	for {
		select {
		case <-p.ended:
			_ = p.Kill()
			return fmt.Errorf("%s ended before it was ready: %s (see %s)", p.Name, lastLine(p.Log), p.Log)
		case <-ctx.Done():
			_ = p.Kill()
			if errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("start %s: %w", p.Name, ctx.Err())
			}
			return fmt.Errorf("%s did not answer within %v: %w (see %s)", p.Name, readyWithin, last, p.Log)
		case <-time.After(lookEvery):
			if last = p.ready(ctx); last == nil {
				return nil
			}
		}
	}
}

func (p *Process) spawn(ctx context.Context) error {
	p.Log = filepath.Join(p.dir, p.Name+".log")
	lock, err := claim(p.dir, p.Name)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // the children keep their own copy; nothing was written
	if err := free(p.Addr); err != nil {
		return fmt.Errorf("%s: port %w", p.Name, err)
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	defer log.Close() //nolint:errcheck // the process keeps its own copy

	// The process may outlive ctx: it is stopped by Stop and Kill only.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), p.args[0], p.args[1:]...) //nolint:gosec // the engines' own command lines
	cmd.Dir = p.dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = attributes(!p.detached)
	if err := onLastingThread(cmd.Start); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	ended := make(chan struct{})
	p.pid, p.ended = cmd.Process.Pid, ended
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(ended)
	}()
	return nil
}

// Stop asks the process to end in order and waits; what is left after 20 s is killed. A process that has
// already ended is no error.
func (p *Process) Stop(ctx context.Context) error { return Stop(ctx, p.dir, p.Name) }

// Kill ends the process and its children with SIGKILL, as a crash would, and returns when none is left.
func (p *Process) Kill() error {
	return killAll(p.lock())
}

// Kill ends with SIGKILL whatever runs as name in dir, and returns when nothing of it is left.
func Kill(dir, name string) error { return killAll(lockFile(dir, name)) }

// Stop ends in order whatever runs as name in dir, whoever started it, and returns when nothing of it
// is left; after 20 s, or when ctx ends, with SIGKILL. It touches no other process.
func Stop(ctx context.Context, dir, name string) error {
	lock := lockFile(dir, name)
	all, err := holders(lock)
	if err != nil || len(all) == 0 {
		return err
	}
	for _, pid := range roots(all) {
		_ = syscall.Kill(pid, stopSignal(name))
	}
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	for {
		if !held(lock) {
			return nil
		}
		select {
		case <-ctx.Done():
			return killAll(lock)
		case <-time.After(lookEvery):
		}
	}
}

// Running says whether anything runs as name in dir.
func Running(dir, name string) bool { return held(lockFile(dir, name)) }
