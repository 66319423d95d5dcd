package launch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// start runs engines until the end of the test.
func start(t *testing.T, o Options) *Engines {
	t.Helper()
	if o.Data == "" {
		o.Data = t.TempDir() // a killed process leaves a temporary directory of its own behind
	}
	e, err := Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Kill)
	return e
}

func TestStartReturnsOnceEveryEngineAnswers(t *testing.T) {
	e := start(t, Options{Redis: true, Kafka: true, MongoDB: true, Miniredis: true})
	uri := strings.TrimSuffix(strings.TrimPrefix(e.MongoDB, "mongodb://"), "/cartstream")
	for name, addr := range map[string]string{"Redis": e.Redis, "Kafka": e.Kafka, "MongoDB": uri} {
		if !listens(addr) {
			t.Errorf("%s does not listen on %q", name, addr)
		}
	}
	if e.RedisServer != "miniredis" {
		t.Errorf("Redis is a %q", e.RedisServer)
	}
}

func TestOnlyTheEnginesAskedForRun(t *testing.T) {
	e := start(t, Options{Kafka: true})
	if e.Kafka == "" || e.Redis != "" || e.MongoDB != "" {
		t.Fatalf("got %+v", e.Addresses)
	}
}

func TestAnEngineThatCantStartIsTheErrorsText(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	port := taken.Addr().(*net.TCPAddr).Port

	held := t.TempDir()
	start(t, Options{Kafka: true, Data: held})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for claim, f := range map[string]struct {
		o    Options
		says string
	}{
		"Redis' port is taken":                     {Options{Redis: true, RedisPort: port}, "start Redis: listen tcp 127.0.0.1:%d: bind: address already in use"},
		"miniredis' port is taken":                 {Options{Redis: true, RedisPort: port, Miniredis: true}, "start Redis: listen tcp 127.0.0.1:%d: bind: address already in use"},
		"Kafka's port is taken":                    {Options{Kafka: true, KafkaPort: port}, "start Kafka: listen tcp 127.0.0.1:%d: bind: address already in use"},
		"the mail server's port is taken":          {Options{Mail: true, MailPort: port}, "start the mail server: listen tcp 127.0.0.1:%d: bind: address already in use"},
		"MongoDB's port is taken":                  {Options{MongoDB: true, MongoDBPort: port}, "start MongoDB: listen tcp 127.0.0.1:%d: bind: address already in use"},
		"the directory is another stack's already": {Options{Kafka: true, Data: held}, "is in use by another embedded stack"},
		"the directory can't be made":              {Options{Kafka: true, Data: filepath.Join(file, "data")}, "make the data directory"},
		"no engine is asked for":                   {Options{}, `unknown engine ""`},
	} {
		t.Run(claim, func(t *testing.T) {
			if strings.Contains(f.says, "%d") {
				f.says = fmt.Sprintf(f.says, port)
			}
			log, err := os.CreateTemp(t.TempDir(), "log")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = log.Close() }()
			f.o.Log = log
			if _, err := Start(context.Background(), f.o); err == nil || !strings.Contains(err.Error(), f.says) {
				t.Fatalf("got %v, want %q", err, f.says)
			}
		})
	}
}

func TestStopAndKillLeaveNothing(t *testing.T) {
	for claim, end := range map[string]func(*Engines){"stopped": (*Engines).Stop, "killed": (*Engines).Kill} {
		t.Run(claim, func(t *testing.T) {
			e := start(t, Options{Redis: true, Kafka: true})
			end(e)
			eventually(t, "nothing listens any more", func() bool { return !listens(e.Redis) && !listens(e.Kafka) })
		})
	}
}

func TestWithoutGoThereIsOneSentence(t *testing.T) {
	t.Setenv("PATH", "")
	if err := build(context.Background(), t.TempDir(), filepath.Join(t.TempDir(), "embedded")); !errors.Is(err, ErrNoGo) {
		t.Fatalf("got %v", err)
	}
}

func TestOutsideACheckoutThereIsOneSentence(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := Binary(context.Background()); !errors.Is(err, ErrNoSource) {
		t.Fatalf("got %v", err)
	}
}

func TestABuildThatFailsLeavesNoBinary(t *testing.T) {
	source, path := t.TempDir(), filepath.Join(t.TempDir(), "embedded")
	if err := os.WriteFile(filepath.Join(source, "main.go"), []byte("package main\n\nfunc main() { undefined() }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(source, "go.mod"), []byte("module x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := build(context.Background(), source, path); err == nil || !strings.Contains(err.Error(), "undefined: undefined") {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatalf("there is a binary: %v", err)
	}
}

func listens(addr string) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

func eventually(t *testing.T, claim string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("it never became true that %s", claim)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
