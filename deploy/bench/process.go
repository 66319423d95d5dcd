package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cartstream/deploy/engines/engine"
)

// readyWithin bounds how long a program of ours may take until it serves.
const readyWithin = time.Minute

// process is a program of ours. The kernel ends it with this process, however that ends.
type process struct {
	addr  string
	log   string
	cmd   *exec.Cmd
	ended chan struct{}
}

// launch starts a program that listens on addr, with nothing but env in its environment.
func launch(ctx context.Context, dir, path, addr string, env []string, args ...string) (*process, error) {
	log, err := os.CreateTemp(dir, filepath.Base(path)+"-*.log")
	if err != nil {
		return nil, err
	}
	p := &process{addr: addr, log: log.Name(), ended: make(chan struct{})}
	defer log.Close() //nolint:errcheck // the process keeps its own copy
	p.cmd = exec.CommandContext(context.WithoutCancel(ctx), path, args...)
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "GOTRACEBACK=all"}, env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := engine.StartOwned(p.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(path), err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its log
		close(p.ended)
	}()
	return p, nil
}

// kill ends the process as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// listening waits until the process takes connections.
func (p *process) listening(ctx context.Context) error {
	return p.wait(ctx, func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// ready waits until the process says that it can do all that it is there for.
func (p *process) ready(ctx context.Context) error {
	return p.wait(ctx, func(ctx context.Context) error {
		body, err := get(ctx, "http://"+p.addr+"/readyz")
		if err == nil && !bytes.Contains(body, []byte(`"status":"ready"`)) {
			err = errors.New(string(body))
		}
		return err
	})
}

func (p *process) wait(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			text, _ := os.ReadFile(p.log)
			return fmt.Errorf("%s ended: %s", filepath.Base(p.cmd.Path), lastLine(text))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", filepath.Base(p.cmd.Path), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// get returns the body of a page.
func get(ctx context.Context, url string) ([]byte, error) {
	return request(ctx, http.MethodGet, url, "", "")
}

// cpu is the processor time that a process has used, to 10 ms.
func cpu(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// pid (name) state …; the name may hold anything. utime and stime are the 12th and 13th field behind it.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat can't be read: %s", pid, text)
	}
	user, err := strconv.ParseInt(string(fields[11]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err, err2) // Linux counts in hundredths for everyone
}

// freeze stops a process without its noticing.
func freeze(pid int) error { return syscall.Kill(pid, syscall.SIGSTOP) }
