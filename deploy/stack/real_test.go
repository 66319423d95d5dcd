package main

import (
	"context"
	"net/http"
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
