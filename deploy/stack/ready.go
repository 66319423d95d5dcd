package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// readyWithin is how long everything may take until it can be used.
const readyWithin = 60 * time.Second

// readiness is what /readyz answers, by the contract.
type readiness struct {
	Status  string `json:"status"`
	Engines map[string]struct {
		State  string `json:"state"`
		Detail string `json:"detail"`
	} `json:"engines"`
	Shards *struct {
		Recovering int `json:"recovering"`
	} `json:"shards"`
}

// awaitReady returns once both servers say that they are ready, every engine included. A server that ended
// meanwhile is an error with its last words; so is one that isn't ready in time, with what it waits for.
func (s *stack) awaitReady(ctx context.Context, r running) error {
	servers := map[string]string{apiProcess: r.Env["HTTP_ADDR"], consumersProcess: r.Env["OPS_ADDR"]}
	deadline := time.Now().Add(readyWithin)
	for name, addr := range servers {
		for {
			why, err := waitsFor(ctx, baseURL(addr)+"/readyz")
			if err == nil && why == "" {
				break
			}
			for other := range servers {
				if !s.alive(other) {
					return fmt.Errorf("%s ended while starting: %s", other, lastWords(s.logFile(other)))
				}
			}
			if time.Now().After(deadline) {
				if err == nil {
					err = errors.New(why)
				}
				return fmt.Errorf("%s is not ready after %v: %w (its log: %s)", name, readyWithin, err, s.logFile(name))
			}
			if err := pause(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// waitsFor asks a server what it still waits for; "" means that it is ready.
func waitsFor(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	var got readiness
	if err := json.Unmarshal(body, &got); err != nil {
		return "", fmt.Errorf("%s answers %s, which is no cartstream", url, resp.Status)
	}
	if resp.StatusCode == http.StatusOK && got.Status == "ready" {
		return "", nil
	}
	return got.why(), nil
}

func (r readiness) why() string {
	var reasons []string
	for _, name := range slices.Sorted(maps.Keys(r.Engines)) {
		if e := r.Engines[name]; !slices.Contains([]string{"up", "ok", "ready"}, e.State) {
			reasons = append(reasons, strings.TrimSpace(name+" is "+e.State+" "+e.Detail))
		}
	}
	if r.Shards != nil && r.Shards.Recovering > 0 {
		reasons = append(reasons, fmt.Sprintf("%d shards are recovering", r.Shards.Recovering))
	}
	if len(reasons) == 0 {
		return "it says " + r.Status
	}
	return strings.Join(reasons, ", ")
}
