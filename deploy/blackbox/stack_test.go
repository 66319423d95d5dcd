// Package blackbox looks at cartstream from outside: real processes on engines of their own, HTTP in; Kafka, MongoDB and
// WebSockets out. Plain `go test` runs it on the embedded engines, CARTSTREAM_ENGINES=real on the real ones.
package blackbox

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"cartstream/deploy/engines/engine"
	"cartstream/deploy/enginetest"
)

const secret = "a secret of thirty-two characters"

// binaries are built once, with the race detector where the test itself has it.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "cartstream-blackbox-")
	if err != nil {
		return "", err
	}
	args := []string{"build", "-o", dir}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.CommandContext(context.Background(), "go", append(args, "cartstream/api", "cartstream/consumers")...)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := binaries(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// stack is the whole product, running.
type stack struct {
	redis, brokers, mongo string
	apis, consumers       []*process
}

// options of a stack.
type options struct {
	apis, consumers int
	redis, brokers  string   // "": an own one
	env             []string // of every process
}

// start brings the stack up on engines of its own and waits until it is ready.
func start(t *testing.T, o options) *stack {
	t.Helper()
	s := &stack{redis: o.redis, brokers: o.brokers}
	if s.redis == "" {
		s.redis = enginetest.Redis(t)
	}
	if s.brokers == "" {
		s.brokers = enginetest.Kafka(t)
	}
	s.mongo = enginetest.Mongo(t)
	env := append([]string{
		"REDIS_ADDRS=" + s.redis, "KAFKA_BROKERS=" + s.brokers, "MONGODB_URI=" + s.mongo, "JWT_SECRET=" + secret,
		"RATE_LIMIT=0", "LOG_FORMAT=text",
	}, o.env...)
	for i := range o.apis {
		s.apis = append(s.apis, newProcess(t, fmt.Sprintf("api-%d", i), "api", "HTTP_ADDR", env))
	}
	for i := range o.consumers {
		s.consumers = append(s.consumers, newProcess(t, fmt.Sprintf("consumers-%d", i), "consumers", "OPS_ADDR", env))
	}
	for _, p := range s.all() {
		p.start()
	}
	for _, p := range s.all() {
		p.waitReady()
	}
	return s
}

func (s *stack) all() []*process { return append(append([]*process{}, s.apis...), s.consumers...) }

// process is one of ours, on an address that it keeps over restarts.
type process struct {
	t    *testing.T
	name string
	path string
	addr string
	env  []string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
}

func newProcess(t *testing.T, name, binary, variable string, env []string) *process {
	t.Helper()
	dir, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := engine.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[0]))
	p := &process{
		t: t, name: name, path: filepath.Join(dir, binary), addr: addr, log: filepath.Join(t.TempDir(), name+".log"),
		env: append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), variable + "=" + addr}, env...),
	}
	t.Cleanup(p.end)
	return p
}

func (p *process) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.cmd, p.done = exec.CommandContext(context.Background(), p.path), make(chan struct{})
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = p.env, log, log
	dieWithParent(p.cmd)
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(p.cmd, p.done)
}

// kill ends the process as a crash would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// end ends what still runs when its test does, and shows its log where that failed.
func (p *process) end() {
	if p.cmd != nil {
		select {
		case <-p.done:
		default:
			p.kill()
		}
	}
	log, err := os.ReadFile(p.log)
	if err != nil {
		return
	}
	if strings.Contains(string(log), "DATA RACE") {
		p.t.Errorf("%s has a data race", p.name)
	}
	if p.t.Failed() {
		const tail = 6000
		p.t.Logf("--- %s\n%s", p.name, log[max(0, len(log)-tail):])
	}
}

func (p *process) waitReady() {
	p.t.Helper()
	eventually(p.t, p.name+" is ready", func() error {
		select {
		case <-p.done:
			log, _ := os.ReadFile(p.log)
			p.t.Fatalf("%s ended: %s", p.name, log)
		default:
		}
		a, err := send(context.Background(), p.addr, "", call{method: "GET", path: "/readyz"})
		if err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("%d %s", a.status, a.body)
		}
		return err
	})
}

// eventually waits until check finds nothing wrong, for at most a minute.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// token speaks for a user.
func token(user, role string) string {
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": user, "role": role, "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString([]byte(secret))
	if err != nil {
		panic(err)
	}
	return signed
}
