package main

import (
	"context"
	"net/http"
	netmail "net/mail"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"cartstream/deploy/launch"
)

// From nothing to a frame, with the real binaries and the lines that up prints.
func TestWhatUpPrintsEndsInAFrame(t *testing.T) {
	root, err := launch.Root()
	if err != nil {
		t.Fatal(err)
	}
	c := newCheckout(t)
	c.root = root
	t.Setenv("REMIND_AFTER", "2s")
	printed := c.must("up", "--free-ports", "--embedded")
	contains(t, c.progress.String(), "the catalogue was empty", "sample books added")

	line := regexp.MustCompile(`curl -X (\S+) (\S+) -H '(.+?): (.+?)' -H '(.+?): (.+?)' -d '(.+?)'`).FindStringSubmatch(printed)
	if line == nil {
		t.Fatalf("no line to paste in:\n%s", printed)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c.out = &output{}
	watching := make(chan error, 1)
	go func() { watching <- command(ctx, c.stack(), []string{"watch", demoUser}) }()
	awaitText(ctx, t, c.out, `{"type":"snapshot"`)

	req, err := http.NewRequestWithContext(ctx, line[1], line[2], strings.NewReader(line[7]))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(line[3], line[4])
	req.Header.Set(line[5], line[6])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("the line is answered %s", resp.Status)
	}
	awaitText(ctx, t, c.out, `{"type":"change","change":{"userId":"alice"`)
	cancel()
	if err := <-watching; err != nil {
		t.Fatalf("watch ended with %v", err)
	}

	t.Run("the cart left alone becomes a mail, whose link ends the reminders", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		got := mail(ctx, t, c.stack().path("data", "mail"))
		if to := got.Header.Get("To"); to != "<"+demoUser+"@example.com>" {
			t.Errorf("it goes to %s", to)
		}
		link := strings.Trim(got.Header.Get("List-Unsubscribe"), "<>")
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			req, err := http.NewRequestWithContext(ctx, method, link, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("%s %s is answered %s", method, link, resp.Status)
			}
		}
	})

	t.Run("after a restart everything is still there", func(t *testing.T) {
		c.out = &output{}
		c.must("down")
		c.must("up", "--free-ports", "--embedded")
		if n := strings.Count(c.progress.String(), "sample books added"); n != 1 {
			t.Errorf("books were added %d times", n)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		c.out = &output{}
		go func() { watching <- command(ctx, c.stack(), []string{"watch", demoUser}) }()
		awaitText(ctx, t, c.out, `"lineCount":1`)
		cancel()
		<-watching
	})
}

// mail waits for the first mail in the directory.
func mail(ctx context.Context, t *testing.T, dir string) *netmail.Message {
	t.Helper()
	for {
		files, err := filepath.Glob(filepath.Join(dir, "*.eml"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) > 0 {
			b, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			m, err := netmail.ReadMessage(strings.NewReader(string(b)))
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			t.Fatal("no mail came")
		}
	}
}
