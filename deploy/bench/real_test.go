//go:build engines

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cartstream/deploy/launch/scratch"
)

func TestEveryBenchmarkPrintsItsFiguresAndLeavesNothing(t *testing.T) {
	var out, said bytes.Buffer
	profile := filepath.Join(t.TempDir(), "cpu")
	if err := run(t.Context(), []string{"-rounds", "1", "-seconds", "0.3", "-carts", "2000", "-scale", "0.01", "-profile", profile}, &out, &said); err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	for _, want := range []string{"cores", "64 connections, Idempotency-Key", "api / bare", "500 lines / 1 line", "kept answer", "304", "kafka − redis", "socket / SPUBLISH", "fan-out / quiet", "Kafka cores",
		"relay / produce", "XADD / produce", "10 hot users / raw", "nothing to heal / read all", "all stale / replace all", "adds meanwhile / adds alone",
		"tail / read tail", "loss / read all", "opened/s", "a cart of 5 lines / a hash of 5 fields"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
	out.Reset()
	if err := run(t.Context(), []string{"-scale", "0.01", "steady"}, &out, &said); err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	if !strings.Contains(out.String(), "second half / first half") {
		t.Errorf("steady printed\n%s", &out)
	}
	if text, err := os.ReadFile(profile); err != nil || len(text) == 0 {
		t.Errorf("the profile has %d bytes: %v", len(text), err)
	}
	s, err := scratch.Open(t.Context(), "bench", &said)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if others, _ := filepath.Glob(filepath.Join(filepath.Dir(s.Path), "*", "bin")); len(others) > 0 {
		t.Errorf("left: %v", others)
	}
}
