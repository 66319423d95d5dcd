package install

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// setup is an empty cache on a machine whose only programs are a java, a sh and a mvn that runs script with
// $calls a file of its own and $libs the folder that it has to fill.
func setup(t *testing.T, script string) (cache *Cache, calls string) {
	t.Helper()
	bin := t.TempDir()
	calls = filepath.Join(t.TempDir(), "calls")
	mvn := "#!/bin/sh\nPATH=/usr/bin:/bin\nlibs=${4#*=}; calls=" + calls + "\necho call >>$calls\n" + script
	for name, text := range map[string]string{"java": "#!/bin/sh\n", "mvn": mvn} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
	t.Setenv(CacheVariable, filepath.Join(t.TempDir(), "cache"))
	cache, err := Open(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return cache, calls
}

func count(t *testing.T, calls string) int {
	t.Helper()
	text, err := os.ReadFile(calls)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(text), "call")
}

func TestWhatIsInstalledIsInstalledOnce(t *testing.T) {
	cache, calls := setup(t, `mkdir "$libs" && echo jar >"$libs/kafka.jar"`)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := cache.Ensure(t.Context(), Kafka); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := count(t, calls); n != 1 {
		t.Errorf("Maven was called %d times", n)
	}
	if !exists(filepath.Join(cache.KafkaLibs(), "kafka.jar")) {
		t.Error("the jar isn't where Kafka looks for it")
	}
	if exists(cache.unfinished()) {
		t.Error("the folder for unfinished work was left")
	}
}

func TestAnInstallationThatFailedIsDoneAnew(t *testing.T) {
	cache, _ := setup(t, `
		[ "$(wc -l <$calls)" -gt 1 ] && { [ ! -e "$libs" ] && mkdir "$libs"; exit; }
		mkdir "$libs"; echo half >"$libs/half.jar"; echo "[ERROR] Failed to reach the registry"; echo bye; exit 1`)
	err := cache.Ensure(t.Context(), Kafka)
	if err == nil || !strings.Contains(err.Error(), "install Kafka: mvn failed: exit status 1: [ERROR] Failed to reach the registry") {
		t.Errorf("got %v", err)
	}
	if exists(cache.KafkaLibs()) {
		t.Error("half of it can be found")
	}
	if err := cache.Ensure(t.Context(), Kafka); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if exists(filepath.Join(cache.KafkaLibs(), "half.jar")) {
		t.Error("the failed half is part of it")
	}
}

func TestAnInstallationThatWasKilledIsDoneAnew(t *testing.T) {
	cache, _ := setup(t, `mkdir "$libs"`)
	half := filepath.Join(cache.unfinished(), filepath.Base(cache.path("kafka", pom)), "libs")
	if err := os.MkdirAll(half, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(half, "half.jar"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := cache.Ensure(t.Context(), Kafka); err != nil {
		t.Fatal(err)
	}
	if exists(filepath.Join(cache.KafkaLibs(), "half.jar")) {
		t.Error("the killed half is part of it")
	}
}

func TestAnInstallationEndsWithItsContext(t *testing.T) {
	cache, calls := setup(t, "sleep 600")
	ctx, cancel := context.WithCancel(t.Context())
	cache.progress = writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	if err := cache.Ensure(ctx, Kafka); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v after %d calls of Maven", err, count(t, calls))
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestNoServiceStartsWhilePackagesAreInstalled(t *testing.T) {
	for claim, c := range map[string]struct{ before, during, after string }{
		"without a policy there is one meanwhile":        {"", policy, ""},
		"a policy of the machine stays":                  {"#!/bin/sh\nexit 0\n", "#!/bin/sh\nexit 0\n", "#!/bin/sh\nexit 0\n"},
		"a policy that an interrupted call left is gone": {policy, policy, ""},
	} {
		t.Run(claim, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "policy-rc.d")
			if c.before != "" {
				if err := os.WriteFile(file, []byte(c.before), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			read := func() string { text, _ := os.ReadFile(file); return string(text) }
			failed := errors.New("apt failed")
			if err := quietly(file, func() error {
				if got := read(); got != c.during {
					t.Errorf("meanwhile it is %q", got)
				}
				return failed
			}); !errors.Is(err, failed) {
				t.Errorf("got %v", err)
			}
			if got := read(); got != c.after {
				t.Errorf("afterwards it is %q", got)
			}
		})
	}
}
