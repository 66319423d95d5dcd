package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cartstream/deploy/bench/replay"
)

// record lets every user add once without and once with an Idempotency-Key, and keeps the script calls by which the API
// did it, in a file for the bare handler.
func (s *stack) record(ctx context.Context, users []caller) (path string, err error) {
	monitor, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.redis.Addr)
	if err != nil {
		return "", err
	}
	defer monitor.Close() //nolint:errcheck // it only listened
	if _, err := monitor.Write([]byte("MONITOR\r\n")); err != nil {
		return "", err
	}
	in := bufio.NewReader(monitor)
	if line, err := in.ReadString('\n'); err != nil || line != "+OK\r\n" {
		return "", fmt.Errorf("MONITOR: %q, %w", line, err)
	}
	adds := replay.Adds{Book: bookID(0), Plain: map[string]replay.Call{}, Keyed: map[string]replay.Call{}}
	said := make(chan error, 1)
	go func() { said <- addOnce(ctx, s.api.addr, users) }()
	_ = monitor.SetReadDeadline(time.Now().Add(time.Minute))
	for len(adds.Plain) < len(users) || len(adds.Keyed) < len(users) {
		line, err := in.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("record the API's calls: %w", err)
		}
		if _, err := adds.Take(strings.TrimSpace(line)); err != nil {
			return "", err
		}
	}
	if err := <-said; err != nil {
		return "", err
	}
	text, err := json.Marshal(adds)
	if err != nil {
		return "", err
	}
	path = filepath.Join(s.dir, "calls.json")
	return path, os.WriteFile(path, text, 0o600)
}

func addOnce(ctx context.Context, addr string, users []caller) error {
	c, err := dial(ctx, addr)
	if err != nil {
		return err
	}
	defer c.conn.Close() //nolint:errcheck // nothing is left to say on it
	for _, u := range users {
		for _, key := range []string{"", newKey()} {
			if _, err := c.add(u, bookID(0), key); err != nil {
				return err
			}
		}
	}
	return nil
}
