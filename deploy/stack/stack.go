package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// stack is the cartstream of one checkout. All that it keeps is in the checkout's .cartstream directory: the
// binaries, the logs, the embedded engines' data, the local JWT secret and what runs.
type stack struct {
	root     string // the checkout
	dir      string // its .cartstream
	out      io.Writer
	progress io.Writer
	environ  map[string]string // what the user set
}

func newStack(root string, out, progress io.Writer) *stack {
	s := &stack{root: root, dir: filepath.Join(root, ".cartstream"), out: out, progress: progress, environ: map[string]string{}}
	for _, name := range slices.Concat(settings, engineVariables, mailVariables) {
		if v := os.Getenv(name); v != "" {
			s.environ[name] = v
		}
	}
	return s
}

// settings are the names that decide how a client reaches the running stack.
var settings = []string{"HTTP_ADDR", "OPS_ADDR", "JWT_SECRET", "JWT_JWKS_URL", "JWT_ISSUER", "JWT_AUDIENCE"}

// engineVariables name the engines, in the order in which they are shown.
var engineVariables = []string{"REDIS_ADDRS", "KAFKA_BROKERS", "MONGODB_URI"}

// running is what up leaves behind for the other commands.
type running struct {
	Engines string            `json:"engines"` // what those that up started are: docker, embedded or none
	Compose []string          `json:"compose"` // the command that Docker's engines were started with
	Env     map[string]string `json:"env"`     // settings and engines as the processes got them
	Notes   map[string]string `json:"notes"`   // what each engine is, by its variable
	Mails   string            `json:"mails"`   // where caught mails are: a URL or a directory
}

func (s *stack) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

// prepare makes the state directory, which git never sees.
func (s *stack) prepare() error {
	for _, dir := range []string{"bin", "logs", "run", "tmp"} {
		if err := os.MkdirAll(s.path(dir), 0o700); err != nil {
			return fmt.Errorf("keep what runs: %w", err)
		}
	}
	return os.WriteFile(s.path(".gitignore"), []byte("*\n"), 0o600)
}

// exclusive lets one up or down at a time work on the checkout.
func (s *stack) exclusive() (unlock func(), err error) {
	f, err := os.OpenFile(s.path("run", "command.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the stack: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, errors.New("another up or down works on this checkout: wait until it is done")
	}
	return func() { _ = f.Close() }, nil
}

// state returns what up left behind, the zero value where nothing did.
func (s *stack) state() (running, error) {
	var r running
	b, err := os.ReadFile(s.path("run", "stack.json"))
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return r, fmt.Errorf("read what runs: %w", err)
	}
	return r, nil
}

func (s *stack) keep(r running) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.WriteFile(s.path("run", "stack.json"), b, 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep what runs: %w", err)
	}
	return nil
}

// client returns the settings to reach the stack with: the environment's, else those of what runs, else the
// defaults, with the kept secret where nothing says how tokens are signed.
func (s *stack) client() (map[string]string, error) {
	r, err := s.state()
	if err != nil {
		return nil, err
	}
	env := map[string]string{"HTTP_ADDR": ":8080", "OPS_ADDR": ":8090"}
	maps.Copy(env, r.Env)
	if s.environ["JWT_SECRET"] != "" || s.environ["JWT_JWKS_URL"] != "" {
		delete(env, "JWT_SECRET")
		delete(env, "JWT_JWKS_URL")
	}
	maps.Copy(env, s.environ)
	if env["JWT_SECRET"] == "" && env["JWT_JWKS_URL"] == "" {
		if env["JWT_SECRET"], err = s.secret(); err != nil {
			return nil, err
		}
	}
	return env, nil
}

func (s *stack) say(format string, args ...any) {
	_, _ = fmt.Fprintf(s.progress, format+"\n", args...)
}
