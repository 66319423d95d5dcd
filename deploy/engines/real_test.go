//go:build engines

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"cartstream/deploy/engines/engine"
	"cartstream/deploy/engines/install"
)

// binary builds the command once for a test that has to kill it.
func binary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "engines")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// call runs the command in this process and answers with what it printed.
func call(t *testing.T, args ...string) string {
	t.Helper()
	var out, progress bytes.Buffer
	if err := run(t.Context(), args, &out, &progress); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, progress.String())
	}
	return out.String()
}

// ownDirectory is a directory for up, brought down at the end of the test.
func ownDirectory(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	t.Cleanup(func() {
		s := stack{dir: dir, progress: io.Discard}
		if err := s.down(context.WithoutCancel(t.Context()), true); err != nil {
			t.Error(err)
		}
		nothingRuns(t, dir)
	})
	return dir
}

func nothingRuns(t *testing.T, dir string) {
	t.Helper()
	names, err := engine.Names(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if engine.Running(dir, name) {
			t.Errorf("%s still runs", name)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), "documentdb-") {
		t.Errorf("a mount was left: %s", mounts)
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !f(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("never happened: " + what)
		}
	}
}

func TestUpIsIdempotentAndTheDataOutlivesDown(t *testing.T) {
	dir := ownDirectory(t)
	first := call(t, "up", "-free-ports", "-dir", dir)
	for _, want := range []string{
		`(?m)^export REDIS_ADDRS=127\.0\.0\.1:\d+$`, `(?m)^export KAFKA_BROKERS=127\.0\.0\.1:\d+$`,
		`(?m)^export MONGODB_URI=mongodb://127\.0\.0\.1:\d+/cartstream$`,
	} {
		if !regexp.MustCompile(want).MatchString(first) {
			t.Errorf("up printed %q, which lacks %s", first, want)
		}
	}
	if again := call(t, "up", "-dir", dir); again != first {
		t.Errorf("a second up answers %q, the first %q", again, first)
	}
	if env := call(t, "env", "-dir", dir); env != first {
		t.Errorf("env answers %q, up %q", env, first)
	}
	if err := redisOf(t, dir).Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}

	call(t, "down", "-dir", dir)
	nothingRuns(t, dir)
	call(t, "up", "-free-ports", "-dir", dir)
	if v, err := redisOf(t, dir).Get(t.Context(), "k").Result(); v != "v" || err != nil {
		t.Errorf("after down and up the key is %q, %v", v, err)
	}

	call(t, "down", "-volumes", "-dir", dir)
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("down -volumes left the data: %v", err)
	}
}

func redisOf(t *testing.T, dir string) *redis.Client {
	t.Helper()
	known, err := readAddresses(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(&redis.Options{Addr: known[install.Redis]})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestUpReplacesWhatDied(t *testing.T) {
	dir := ownDirectory(t)
	call(t, "up", "-free-ports", "-dir", dir)
	if err := engine.Kill(dir, "postgres"); err != nil {
		t.Fatal(err)
	}
	call(t, "up", "-free-ports", "-dir", dir, "mongodb")
	for _, e := range install.Engines() {
		if !running(dir, e) {
			t.Errorf("%s does not run", e)
		}
	}
}

func TestAPortThatIsTakenLeavesNothingRunning(t *testing.T) {
	cache, err := install.Open(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range install.Engines() {
		t.Run(string(e), func(t *testing.T) {
			l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			s := stack{cache: cache, progress: io.Discard, dir: ownDirectory(t),
				ports: map[install.Engine]int{e: l.Addr().(*net.TCPAddr).Port}}
			if err := s.up(t.Context(), install.Engines()); !errors.Is(err, engine.ErrPortTaken) {
				t.Errorf("got %v", err)
			}
			nothingRuns(t, s.dir)
		})
	}
}

func TestUpKilledInTheMiddleIsCleanedUpByDownAndByUp(t *testing.T) {
	command := binary(t)
	for _, next := range []string{"down", "up"} {
		t.Run(next, func(t *testing.T) {
			dir := ownDirectory(t)
			up := exec.CommandContext(t.Context(), command, "up", "-free-ports", "-dir", dir)
			if err := up.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "Kafka starts", func() bool { return engine.Running(dir, "kafka-1") })
			if err := up.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = up.Wait()
			if next == "down" {
				call(t, "down", "-dir", dir)
				nothingRuns(t, dir)
				return
			}
			call(t, "up", "-free-ports", "-dir", dir)
			for _, e := range install.Engines() {
				if !running(dir, e) {
					t.Errorf("%s does not run", e)
				}
			}
		})
	}
}

func TestUpInterruptedLeavesNothingRunning(t *testing.T) {
	dir := ownDirectory(t)
	up := exec.CommandContext(t.Context(), binary(t), "up", "-free-ports", "-dir", dir)
	if err := up.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Kafka starts", func() bool { return engine.Running(dir, "kafka-1") })
	if err := up.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := up.Wait(); err == nil {
		t.Error("an interrupted up exits with 0")
	}
	nothingRuns(t, dir)
}

func TestExecStopsItsEnginesWhateverHappens(t *testing.T) {
	command := binary(t)
	for claim, c := range map[string]struct {
		script string
		signal syscall.Signal
		code   int
	}{
		"when the command succeeds":    {script: "true", code: 0},
		"when it fails, with its code": {script: "exit 7", code: 7},
		"when it is interrupted":       {script: "exec sleep 600", signal: syscall.SIGTERM, code: 1},
		"when exec itself is killed":   {script: "exec sleep 600", signal: syscall.SIGKILL, code: -1},
	} {
		t.Run(claim, func(t *testing.T) {
			note := filepath.Join(t.TempDir(), "address")
			cmd := exec.CommandContext(t.Context(), command, "exec", "-engines", "redis", "sh", "-c",
				`echo "$REDIS_ADDRS" >"$0.half" && mv "$0.half" "$0"; `+c.script, note)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the command runs", func() bool { _, err := os.Stat(note); return err == nil })
			if c.signal != 0 {
				if err := cmd.Process.Signal(c.signal); err != nil {
					t.Fatal(err)
				}
			}
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != c.code {
				t.Errorf("exit code %d, want %d", got, c.code)
			}
			addr, err := os.ReadFile(note)
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "Redis has ended", func() bool {
				conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimSpace(string(addr)))
				if err == nil {
					_ = conn.Close()
				}
				return err != nil
			})
		})
	}
}
