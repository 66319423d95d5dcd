package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"cartstream/deploy/engines/engine"
	"cartstream/deploy/engines/install"
)

// The processes of each engine.
var processes = map[install.Engine][]string{
	install.Redis:   {"redis"},
	install.Kafka:   {"kafka-1"},
	install.MongoDB: {"ferretdb", "postgres"},
}

// The environment variable that names each engine's address to the product.
var variables = map[install.Engine]string{
	install.Redis:   "REDIS_ADDRS",
	install.Kafka:   "KAFKA_BROKERS",
	install.MongoDB: "MONGODB_URI",
}

// addresses are those at which engines answered when they were started; one that has none may be half started.
type addresses map[install.Engine]string

func addressFile(dir string) string { return filepath.Join(dir, "addresses.json") }

func readAddresses(dir string) (addresses, error) {
	text, err := os.ReadFile(addressFile(dir))
	if errors.Is(err, os.ErrNotExist) {
		return addresses{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the engines' addresses: %w", err)
	}
	known := addresses{}
	if json.Unmarshal(text, &known) != nil {
		return addresses{}, nil // none of ours is half written; then what runs is started anew
	}
	return known, nil
}

func writeAddresses(dir string, known addresses) error {
	text, err := json.Marshal(known)
	if err != nil {
		return err
	}
	half := addressFile(dir) + ".half"
	if err := os.WriteFile(half, text, 0o600); err != nil {
		return fmt.Errorf("note the engines' addresses: %w", err)
	}
	return os.Rename(half, addressFile(dir))
}

// running says whether all processes of an engine run in dir.
func running(dir string, e install.Engine) bool {
	for _, name := range processes[e] {
		if !engine.Running(dir, name) {
			return false
		}
	}
	return true
}

// env prints the addresses of what runs, as lines for the shell. Nothing running is an error.
func (s *stack) env(out io.Writer) error {
	known, err := readAddresses(s.dir)
	if err != nil {
		return err
	}
	lines := known.environ(s.dir)
	if len(lines) == 0 {
		return fmt.Errorf("no engine runs in %s: start them with up", s.dir)
	}
	for _, l := range lines {
		if _, err := fmt.Fprintln(out, "export", l); err != nil {
			return err
		}
	}
	return nil
}

// environ is NAME=VALUE for each engine that runs in dir, in a fixed order.
func (a addresses) environ(dir string) []string {
	var lines []string
	for _, e := range install.Engines() {
		if a[e] != "" && running(dir, e) {
			lines = append(lines, variables[e]+"="+a[e])
		}
	}
	return lines
}
