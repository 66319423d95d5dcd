package engine

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// setup is a process of its own for one test: a shell that runs script. It counts as ready once the script
// has made the file ready beside its log.
func setup(t *testing.T, script string) *Process {
	t.Helper()
	ports, err := FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &Process{Name: "shell", Addr: address(ports[0]), dir: dir, args: []string{"sh", "-c", script}}
	p.ready = func(context.Context) error {
		_, err := os.Stat(filepath.Join(dir, "ready"))
		return err
	}
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p
}

const stays = "touch ready; sleep 600 & wait"

func TestStart(t *testing.T) {
	for claim, c := range map[string]struct {
		script string
		before func(*testing.T, *Process)
		want   string
		is     error
	}{
		"a process that answers is started": {script: stays},
		"one that ends before it answers is an error with its last words": {
			script: "echo first; echo out of luck >&2; sleep 600 & exit 3",
			want:   "shell ended before it was ready: out of luck",
		},
		"a program that isn't there is an error": {
			before: func(_ *testing.T, p *Process) { p.args = []string{"/nowhere/engine"} },
			want:   "no such file",
		},
		"a port that is taken is refused": {
			script: stays,
			before: func(t *testing.T, p *Process) {
				l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", p.Addr)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = l.Close() })
			},
			is: ErrPortTaken, want: "is taken by another process",
		},
		"a second one of the same name in a directory is refused": {
			script: stays,
			before: func(t *testing.T, p *Process) {
				first := *p
				if err := first.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
			},
			is: ErrRunning, want: "shell is already running",
		},
		"a lock file that a crash left stops nobody": {
			script: stays,
			before: func(t *testing.T, p *Process) {
				if err := os.WriteFile(p.lock(), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
					t.Fatal(err)
				}
			},
		},
	} {
		t.Run(claim, func(t *testing.T) {
			p := setup(t, c.script)
			if c.before != nil {
				c.before(t, p)
			}
			err := p.Start(t.Context())
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if !Running(p.dir, p.Name) {
					t.Error("nothing runs")
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("got %v, want one that wraps %v", err, c.is)
			}
			if !errors.Is(err, ErrRunning) && Running(p.dir, p.Name) {
				t.Error("something was left running")
			}
		})
	}
}

func TestACancelledStartLeavesNothing(t *testing.T) {
	p := setup(t, "touch up; sleep 600 & wait") // never makes ready
	ctx, cancel := context.WithCancel(t.Context())
	never := p.ready
	p.ready = func(ctx context.Context) error { cancel(); return never(ctx) }
	if err := p.Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if Running(p.dir, p.Name) {
		t.Error("something was left running")
	}
}

func TestEnding(t *testing.T) {
	for claim, c := range map[string]struct {
		script string
		end    func(*testing.T, *Process) error
	}{
		"Kill ends children too": {
			script: "sleep 600 & touch ready; wait",
			end:    func(_ *testing.T, p *Process) error { return p.Kill() },
		},
		"Stop lets the process end in order": {
			script: "trap 'touch in-order; kill $!; exit' TERM; sleep 600 & touch ready; wait",
			end: func(t *testing.T, p *Process) error {
				err := p.Stop(t.Context())
				if _, missing := os.Stat(filepath.Join(p.dir, "in-order")); missing != nil {
					t.Error("it was not asked")
				}
				return err
			},
		},
		"Stop kills what won't end once its time is up": {
			script: "trap '' TERM; touch ready; while :; do sleep 600; done",
			end: func(t *testing.T, p *Process) error {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				defer cancel()
				return p.Stop(ctx)
			},
		},
		"Stop of what has ended is no error": {
			script: stays,
			end: func(t *testing.T, p *Process) error {
				if err := p.Kill(); err != nil {
					return err
				}
				return p.Stop(t.Context())
			},
		},
	} {
		t.Run(claim, func(t *testing.T) {
			p := setup(t, c.script)
			if err := p.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			pid := p.Pid()
			if err := c.end(t, p); err != nil {
				t.Fatal(err)
			}
			if Running(p.dir, p.Name) {
				t.Error("something was left running")
			}
			<-p.Ended()
			if err := p.Start(t.Context()); err != nil {
				t.Errorf("it does not start again: %v", err)
			}
			if p.Pid() == pid {
				t.Error("it is still the old process")
			}
		})
	}
}

// parentVariable makes this test binary the parent of a process, for the test below: owned or detached.
const parentVariable, parentDir = "ENGINE_TEST_PARENT", "ENGINE_TEST_DIR"

func TestMain(m *testing.M) {
	kind := os.Getenv(parentVariable)
	if kind == "" {
		os.Exit(m.Run())
	}
	p := &Process{
		Name: "shell", Addr: "127.0.0.1:0", dir: os.Getenv(parentDir), detached: kind == "detached",
		args: []string{"sleep", "600"}, ready: func(context.Context) error { return nil },
	}
	if err := p.Start(context.Background()); err != nil {
		println(err.Error())
		os.Exit(1)
	}
	println("started")
	select {}
}

func TestAnOwnedProcessEndsWithItsParentADetachedOneLives(t *testing.T) {
	for kind, lives := range map[string]bool{"owned": false, "detached": true} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			parent := exec.CommandContext(t.Context(), os.Args[0])
			parent.Env = append(os.Environ(), parentVariable+"="+kind, parentDir+"="+dir)
			out, err := parent.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := parent.Start(); err != nil {
				t.Fatal(err)
			}
			if line, _ := bufio.NewReader(out).ReadString('\n'); line != "started\n" {
				t.Fatalf("the parent said %q", line)
			}
			if err := parent.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = parent.Wait()
			defer Kill(dir, "shell") //nolint:errcheck // the assertion below is what counts
			if lives {
				if !Running(dir, "shell") {
					t.Error("it ended with its parent")
				}
				return
			}
			if err := until(t.Context(), func() error {
				if Running(dir, "shell") {
					return errors.New("it still runs")
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFreePortsAreFreeAndDifferent(t *testing.T) {
	seen := map[int]bool{}
	for range 20 { // whoever asked last need not listen yet
		ports, err := FreePorts(30)
		if err != nil {
			t.Fatal(err)
		}
		for _, port := range ports {
			if seen[port] {
				t.Errorf("port %d twice", port)
			}
			seen[port] = true
			if err := free(address(port)); err != nil {
				t.Error(err)
			}
		}
	}
}
