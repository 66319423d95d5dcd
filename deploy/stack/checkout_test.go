package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cartstream/deploy/launch"
)

// fakeAPI stands for the api: it is ready at once, keeps books by id, and counts. What it does wrong is said by
// FAKE_API: fails (a bad environment), degraded (never ready).
const fakeAPI = `package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

func main() {
	if os.Getenv("FAKE_API") == "fails" {
		fmt.Fprintln(os.Stderr, "environment: CURRENCY is \"x\": three capital letters, as in EUR")
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var mu sync.Mutex
	books := map[string]bool{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if os.Getenv("FAKE_API") == "degraded" {
			fmt.Fprint(w, ` + "`" + `{"status":"degraded","engines":{"kafka":{"state":"down","detail":"no broker"}}}` + "`" + `)
			return
		}
		fmt.Fprint(w, ` + "`" + `{"status":"ready"}` + "`" + `)
	})
	mux.HandleFunc("GET /v1/books", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		for id := range books {
			fmt.Fprintf(w, ` + "`" + `{"items":[{"bookId":%q}]}` + "`" + `, id)
			return
		}
		fmt.Fprint(w, ` + "`" + `{"items":[]}` + "`" + `)
	})
	mux.HandleFunc("POST /v1/books", func(w http.ResponseWriter, r *http.Request) {
		var book struct{ BookID string }
		if r.Header.Get("Authorization") == "" || json.NewDecoder(r.Body).Decode(&book) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if books[book.BookID] {
			w.WriteHeader(http.StatusConflict)
			return
		}
		books[book.BookID] = true
		w.WriteHeader(http.StatusCreated)
	})
	server := &http.Server{Addr: os.Getenv("HTTP_ADDR"), Handler: mux}
	go server.ListenAndServe()
	fmt.Println("listening with REDIS_ADDRS", os.Getenv("REDIS_ADDRS"))
	<-ctx.Done()
	fmt.Println("drained")
}
`

const fakeConsumers = `package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	http.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, ` + "`" + `{"status":"ready"}` + "`" + `) })
	go http.ListenAndServe(os.Getenv("OPS_ADDR"), nil)
	<-ctx.Done()
}
`

// output collects what a command prints, also while it runs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// checkout is a checkout whose two binaries are the fakes above.
type checkout struct {
	*testing.T
	dir           string
	root          string // where the source is: dir, but for tests of the real binaries
	out, progress *output
}

// newCheckout makes one where no engine is named and no Docker engine answers. What still runs at the end of the
// test is stopped.
func newCheckout(t *testing.T) *checkout {
	t.Helper()
	for _, name := range slices.Concat([]string{"FAKE_API"}, settings, engineVariables, mailVariables) {
		t.Setenv(name, "")
	}
	dir := t.TempDir()
	c := &checkout{T: t, dir: dir, root: dir, out: &output{}, progress: &output{}}
	c.write("go.mod", "module fake\n\ngo 1.26\n")
	c.write("api/main.go", fakeAPI)
	c.write("consumers/main.go", fakeConsumers)
	c.write("deploy/stack/main.go", "package main\n\nfunc main() {}\n")
	c.write("deploy/stack/books.json", `[{"bookId":"emma"},{"bookId":"dracula"},{"bookId":"ulysses"}]`)
	if _, err := launch.Binary(context.Background()); err != nil { // before any time-out
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s := c.stack()
		for _, name := range []string{apiProcess, consumersProcess, enginesProcess} {
			if _, err := s.stop(name); err != nil {
				t.Error(err)
			}
		}
	})
	return c
}

func (c *checkout) write(path, text string) {
	c.Helper()
	path = filepath.Join(c.dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		c.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		c.Fatal(err)
	}
}

func (c *checkout) stack() *stack {
	c.Helper()
	s := newStack(c.root, c.out, c.progress)
	s.dir = filepath.Join(c.dir, ".cartstream")
	if err := s.prepare(); err != nil {
		c.Fatal(err)
	}
	return s
}

// does runs one command and returns what it printed to out.
func (c *checkout) does(args ...string) (string, error) {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c.out.mu.Lock()
	c.out.b.Reset()
	c.out.mu.Unlock()
	err := command(ctx, c.stack(), args)
	return c.out.String(), err
}

func (c *checkout) must(args ...string) string {
	c.Helper()
	out, err := c.does(args...)
	if err != nil {
		c.Fatalf("%v: %v", args, err)
	}
	return out
}

// alive lists what runs.
func (c *checkout) alive() string {
	var names []string
	for _, name := range []string{apiProcess, consumersProcess, enginesProcess} {
		if c.stack().alive(name) {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

func (c *checkout) pid(name string) string {
	c.Helper()
	b, err := os.ReadFile(c.stack().pidFile(name))
	if err != nil {
		c.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in:\n%s", part, text)
		}
	}
}
