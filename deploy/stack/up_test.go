package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestUpAndDown(t *testing.T) {
	c := newCheckout(t)
	out := c.must("up", "--free-ports", "--embedded")
	contains(t, out, "/v1/openapi.json", "export REDIS_ADDRS=127.0.0.1:", "MONGODB_URI=mongodb://127.0.0.1:", "JWT_SECRET=",
		"valid for 24 hours", "watch", "alice", "curl -X POST http://127.0.0.1:", "Authorization: Bearer ey")
	contains(t, c.progress.String(), "3 sample books added", "cartstream is up.")
	if got := c.alive(); got != "api consumers engines" {
		t.Fatalf("%q runs", got)
	}

	t.Run("a second up says that it is up already and starts nothing", func(t *testing.T) {
		api, engines := c.pid(apiProcess), c.pid(enginesProcess)
		again := c.must("up")
		contains(t, c.progress.String(), "cartstream is up already.")
		contains(t, again, "curl -X POST http://127.0.0.1:")
		if c.pid(apiProcess) != api || c.pid(enginesProcess) != engines {
			t.Fatal("it started something")
		}
	})
	t.Run("the other commands find what runs", func(t *testing.T) {
		contains(t, c.must("logs", "--no-follow"), "api       | listening with REDIS_ADDRS 127.0.0.1:")
		c.must("seed")
		contains(t, c.progress.String(), "0 books added, 3 were there already.")
	})
	t.Run("where a part has stopped, up starts everything again", func(t *testing.T) {
		kill(t, c, apiProcess)
		c.must("up", "--free-ports", "--embedded")
		contains(t, c.progress.String(), "a part of it had stopped")
		if got := c.alive(); got != "api consumers engines" {
			t.Fatalf("%q runs", got)
		}
	})
	t.Run("down drains, leaves nothing running and keeps the data", func(t *testing.T) {
		c.must("down")
		if got := c.alive(); got != "" {
			t.Fatalf("%q still runs", got)
		}
		log, err := os.ReadFile(c.stack().logFile(apiProcess))
		if err != nil || !strings.Contains(string(log), "drained") {
			t.Errorf("the api did not drain: %s, %v", log, err)
		}
		if _, err := os.Stat(c.stack().path("data", "kafka")); err != nil {
			t.Errorf("the data is gone: %v", err)
		}
	})
	t.Run("down with nothing running says so; with --volumes the data goes", func(t *testing.T) {
		c.must("down", "--volumes")
		contains(t, c.progress.String(), "nothing of cartstream was running", "its data is deleted")
		if _, err := os.Stat(c.stack().path("data")); !os.IsNotExist(err) {
			t.Errorf("the data is still there: %v", err)
		}
	})
	t.Run("git sees none of it", func(t *testing.T) {
		if b, err := os.ReadFile(filepath.Join(c.dir, ".cartstream", ".gitignore")); err != nil || string(b) != "*\n" {
			t.Fatalf("%q, %v", b, err)
		}
	})
}

func kill(t *testing.T, c *checkout, name string) {
	t.Helper()
	p, err := os.FindProcess(atoi(t, c.pid(name)))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); c.stack().alive(name); time.Sleep(lookEvery) {
		if time.Now().After(deadline) {
			t.Fatalf("%s lives on", name)
		}
	}
}

func TestUpFailsWithOneSentenceAndLeavesNothingRunning(t *testing.T) {
	taken := listener(t)
	_, takenPort, _ := net.SplitHostPort(taken.Addr().String())
	nobody := listener(t)
	nobodyAddr := nobody.Addr().String()
	_ = nobody.Close()

	for claim, f := range map[string]struct {
		env  map[string]string
		file [2]string
		says string
	}{
		"the API's port is taken":              {env: map[string]string{"HTTP_ADDR": taken.Addr().String()}, says: "port " + takenPort + " is taken: free it, or set HTTP_ADDR to another address"},
		"the consumers' port is taken":         {env: map[string]string{"OPS_ADDR": taken.Addr().String()}, says: "or set OPS_ADDR"},
		"both servers should have one port":    {env: map[string]string{"HTTP_ADDR": nobodyAddr, "OPS_ADDR": nobodyAddr}, says: "are both"},
		"HTTP_ADDR is no address":              {env: map[string]string{"HTTP_ADDR": "eighty"}, says: `HTTP_ADDR: "eighty" can't be listened on`},
		"the named Redis isn't there":          {env: map[string]string{"REDIS_ADDRS": nobodyAddr}, says: "Redis, which REDIS_ADDRS names, can't be reached"},
		"the named Kafka isn't there":          {env: map[string]string{"KAFKA_BROKERS": nobodyAddr}, says: "Kafka, which KAFKA_BROKERS names, can't be reached"},
		"the named MongoDB isn't there":        {env: map[string]string{"MONGODB_URI": "mongodb://" + nobodyAddr + "/x"}, says: "MongoDB, which MONGODB_URI names, can't be reached"},
		"MONGODB_URI names no database":        {env: map[string]string{"MONGODB_URI": "mongodb://" + nobodyAddr}, says: "MONGODB_URI names no database"},
		"a password in a bad URI doesn't show": {env: map[string]string{"REDIS_ADDRS": "redis://u:hunter2@%zz"}, says: "REDIS_ADDRS"},
		"there is no go command":               {env: map[string]string{"PATH": "/nonexistent"}, says: "no go command in PATH: install Go"},
		"the code doesn't compile":             {file: [2]string{"consumers/main.go", "package main\n\nfunc main() { undefined() }\n"}, says: "go build failed:"},
		"the api refuses its environment":      {env: map[string]string{"FAKE_API": "fails"}, says: `api ended while starting: environment: CURRENCY is "x": three capital letters`},
		"the sample catalogue can't be read":   {file: [2]string{"deploy/stack/books.json", "["}, says: "read the sample catalogue"},
		"the kept secret is damaged":           {file: [2]string{".cartstream/secret", "short\n"}, says: "the kept JWT secret is damaged"},
		"what ran can't be read":               {file: [2]string{".cartstream/run/stack.json", "{"}, says: "read what runs"},
		"the data directory can't be made":     {file: [2]string{".cartstream/data", ""}, says: "make the data directory"},
	} {
		t.Run(claim, func(t *testing.T) {
			c := newCheckout(t)
			if f.file[0] != "" {
				c.write(f.file[0], f.file[1])
			}
			for name, value := range f.env {
				t.Setenv(name, value)
			}
			_, err := c.does("up", "--free-ports", "--embedded")
			if err == nil || !strings.Contains(err.Error(), f.says) {
				t.Fatalf("got %v, want %q", err, f.says)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("it shows the password: %v", err)
			}
			if got := c.alive(); got != "" {
				t.Fatalf("%q still runs", got)
			}
		})
	}
}

func TestUpSaysWhichEngineShouldGetATakenPort(t *testing.T) {
	for i, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			c := newCheckout(t)
			port := listener(t).Addr().(*net.TCPAddr).Port
			// The tests never use the usual ports.
			usual := engines
			t.Cleanup(func() { engines = usual })
			engines = []engine{usual[i]}
			engines[0].port = port
			for _, name := range []string{"HTTP_ADDR", "OPS_ADDR"} {
				free, err := freePort()
				if err != nil {
					t.Fatal(err)
				}
				t.Setenv(name, fmt.Sprintf("127.0.0.1:%d", free))
			}
			_, err := c.does("up", "--embedded")
			want := fmt.Sprintf("port %d is taken, but %s should get it: free it, name a %s that runs in %s, or run task up -- --free-ports",
				port, e.name, e.name, e.variable)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("got %v, want %q", err, want)
			}
			if got := c.alive(); got != "" {
				t.Fatalf("%q still runs", got)
			}
		})
	}
}

// listener listens on a free port until the end of the test.
func listener(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestUpInterruptedLeavesNothingRunning(t *testing.T) {
	c := newCheckout(t)
	t.Setenv("FAKE_API", "degraded")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.stack().up(ctx, true, true) }()
	for c.alive() != "api consumers engines" {
		select {
		case err := <-done:
			t.Fatalf("it ended: %v", err)
		case <-time.After(lookEvery):
		}
	}
	if _, err := c.does("up"); err == nil || !strings.Contains(err.Error(), "another up or down works on this checkout") {
		t.Fatalf("a second up meanwhile: %v", err)
	}
	cancel()
	if err := <-done; err == nil || err.Error() != "interrupted: nothing is left running" {
		t.Fatalf("got %v", err)
	}
	if got := c.alive(); got != "" {
		t.Fatalf("%q still runs", got)
	}
}

func TestUpTellsWhatItWaitsFor(t *testing.T) {
	got := readiness{Status: "degraded"}
	if got.why() != "it says degraded" {
		t.Fatal(got.why())
	}
	c := newCheckout(t)
	t.Setenv("FAKE_API", "degraded")
	s := c.stack()
	r := running{Env: map[string]string{}}
	if err := s.settle(context.Background(), &r, true); err != nil {
		t.Fatal(err)
	}
	if err := s.build(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := s.background(apiProcess, s.path("bin", apiProcess), append(os.Environ(), "HTTP_ADDR="+r.Env["HTTP_ADDR"])); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(lookEvery) {
		why, err := waitsFor(context.Background(), baseURL(r.Env["HTTP_ADDR"])+"/readyz")
		if why == "kafka is down no broker" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q, %v", why, err)
		}
	}
}
