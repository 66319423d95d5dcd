package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cartstream/deploy/engines/install"
)

func TestAWrongCallIsSaidInOneSentence(t *testing.T) {
	t.Setenv(install.CacheVariable, t.TempDir())
	for claim, c := range map[string]struct {
		args []string
		want string
	}{
		"no command":                      {nil, "no command"},
		"an unknown command":              {[]string{"start"}, `there is no command "start"`},
		"an unknown engine to start":      {[]string{"up", "mysql"}, `there is no engine "mysql"`},
		"an unknown engine to install":    {[]string{"install", "mysql"}, `there is no engine "mysql"`},
		"an unknown engine for a command": {[]string{"exec", "-engines", "redis,mysql", "true"}, `there is no engine "mysql"`},
		"an unknown flag":                 {[]string{"up", "-fast"}, "-fast"},
		"exec without a command":          {[]string{"exec"}, "exec needs a command"},
	} {
		t.Run(claim, func(t *testing.T) {
			err := run(t.Context(), c.args, io.Discard, io.Discard)
			if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want a wrong call: %s", err, c.want)
			}
		})
	}
}

func TestWhatIsMissingIsSaidWhereItCannotBeInstalled(t *testing.T) {
	t.Setenv(install.CacheVariable, t.TempDir())
	t.Setenv("PATH", t.TempDir())
	for engine, want := range map[string]string{
		"redis":   "redis-server, redis-tools is missing",
		"kafka":   "default-jre-headless, maven is missing",
		"mongodb": "is missing",
	} {
		t.Run(engine, func(t *testing.T) {
			dir := t.TempDir()
			err := run(t.Context(), []string{"up", "-dir", dir, engine}, io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("got %v, want %q", err, want)
			}
			if !errors.Is(err, install.ErrNotDebian) && !errors.Is(err, install.ErrNotRoot) {
				t.Errorf("it does not say why it can't be installed: %v", err)
			}
			if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) > 0 {
				t.Errorf("it left %v", files)
			}
		})
	}
}

// The command's own exit code and sentence, seen from outside.
func TestWhatFailsIsSaidInOneSentenceAndTheExitCode(t *testing.T) {
	command := filepath.Join(t.TempDir(), "engines")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", command, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	bin := t.TempDir()
	for name, script := range map[string]string{"java": "#!/bin/sh\n", "mvn": "#!/bin/sh\necho working\necho '[ERROR] out of luck'\nexit 9\n"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for claim, c := range map[string]struct {
		args []string
		code int
		last string
	}{
		"an installation that fails": {[]string{"up", "kafka"}, 1, "engines: install Kafka: mvn failed: exit status 9: [ERROR] out of luck"},
		"nothing that runs":          {[]string{"env"}, 1, "engines: no engine runs in"},
		"a wrong call":               {[]string{"up", "mysql"}, 2, "installed and, unless -dir is given, the data."},
	} {
		t.Run(claim, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), command, c.args...)
			cmd.Env = []string{"PATH=" + bin, install.CacheVariable + "=" + t.TempDir()}
			out, err := cmd.CombinedOutput()
			if got := cmd.ProcessState.ExitCode(); got != c.code {
				t.Errorf("exit code %d, want %d: %v", got, c.code, err)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			if last := lines[len(lines)-1]; !strings.HasPrefix(last, c.last) {
				t.Errorf("it said %q, want %q", last, c.last)
			}
		})
	}
}

func TestDownWhereNothingRunsIsNoError(t *testing.T) {
	t.Setenv(install.CacheVariable, t.TempDir())
	for claim, dir := range map[string]string{
		"in a directory that isn't there": filepath.Join(t.TempDir(), "none"),
		"in an empty directory":           t.TempDir(),
	} {
		t.Run(claim, func(t *testing.T) {
			if err := run(t.Context(), []string{"down", "-volumes", "-dir", dir}, io.Discard, io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEnvWhereNothingRunsIsAnError(t *testing.T) {
	t.Setenv(install.CacheVariable, t.TempDir())
	for claim, content := range map[string]string{
		"nothing was ever started":      "",
		"addresses are left of a crash": `{"redis":"127.0.0.1:1"}`,
		"the addresses are damaged":     `{"redis":`,
	} {
		t.Run(claim, func(t *testing.T) {
			dir := t.TempDir()
			if content != "" {
				if err := os.WriteFile(addressFile(dir), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var out bytes.Buffer
			err := run(t.Context(), []string{"env", "-dir", dir}, &out, io.Discard)
			if err == nil || !strings.Contains(err.Error(), "no engine runs") || out.Len() > 0 {
				t.Errorf("got %v and %q", err, out.String())
			}
		})
	}
}

func TestACallThatHasToWaitForAnotherEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	f, err := tryLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var said bytes.Buffer
	s := stack{dir: dir, progress: writerFunc(func(p []byte) (int, error) { cancel(); return said.Write(p) })}
	if err := s.down(ctx, false); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(said.String(), "waiting for it") {
		t.Errorf("it said %q", said.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
