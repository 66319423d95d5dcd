package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mutant is the product, broken on purpose: some text of its source is replaced.
type mutant struct {
	name   string
	breaks string // what no longer holds
	edits  []edit
	caught catcher
	// fast ones are caught in seconds, on the embedded engines.
	fast bool
}

// edit replaces text that stands exactly once in a file.
type edit struct {
	file     string // from the module's root
	old, new string
}

// catcher is what has to fail: a test, or a scenario of deploy/faults.
type catcher struct {
	folder, test string
	scenario     string
}

func (c catcher) String() string {
	if c.scenario != "" {
		return "scenario " + c.scenario
	}
	return c.test + " in " + c.folder
}

// apply returns the files as the mutant has them, by path from the root.
func (m mutant) apply(root string) (map[string]string, error) {
	files := map[string]string{}
	for _, e := range m.edits {
		text, ok := files[e.file]
		if !ok {
			read, err := os.ReadFile(filepath.Join(root, e.file)) //nolint:gosec // a source file of ours
			if err != nil {
				return nil, fmt.Errorf("%s: %w", m.name, err)
			}
			text = string(read)
		}
		if n := strings.Count(text, e.old); n != 1 {
			return nil, fmt.Errorf("%s: %s holds its text %d times, not once: it was rewritten, so say anew what is to be broken:\n%s", m.name, e.file, n, e.old)
		}
		files[e.file] = strings.Replace(text, e.old, e.new, 1)
	}
	return files, nil
}

// overlay writes files into dir and returns the file that `go build -overlay` takes, so that the working tree stays as it
// is.
func overlay(root, dir string, files map[string]string) (string, error) {
	replace := map[string]string{}
	for file, text := range files {
		at := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root, file)] = at
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	at := filepath.Join(dir, "overlay.json")
	return at, os.WriteFile(at, text, 0o600)
}
