package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// dockerCompose returns the command for docker compose, version 2 or newer, where a Docker engine answers, else nil.
func dockerCompose(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if exec.CommandContext(ctx, "docker", "info").Run() != nil {
		return nil
	}
	for _, command := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		args := append(command[1:len(command):len(command)], "version", "--short")
		version, err := exec.CommandContext(ctx, command[0], args...).Output() //nolint:gosec // one of the two above
		major, _, _ := strings.Cut(strings.TrimPrefix(string(version), "v"), ".")
		if n, _ := strconv.Atoi(major); err == nil && n >= 2 { // 1 can't wait for health
			return command
		}
	}
	return nil
}

// project names this checkout's containers and volumes, so that two checkouts and a docker compose by hand
// don't share any.
func (s *stack) project() string {
	sum := sha256.Sum256([]byte(s.root))
	return "cartstream-" + hex.EncodeToString(sum[:4])
}

func (s *stack) startDocker(ctx context.Context, r *running, compose []string, missing []engine, freePorts bool) error {
	r.Engines, r.Compose = "docker", compose
	if err := s.keep(*r); err != nil { // so that down finds them even if this command is killed
		return err
	}
	args := []string{"up", "--detach", "--wait"}
	var environ []string
	for _, e := range missing {
		port := e.port
		if freePorts {
			var err error
			if port, err = freePort(); err != nil {
				return err
			}
		}
		environ = append(environ, fmt.Sprintf("%s=%d", e.portName, port))
		args = append(args, e.service)
		r.Env[e.variable], r.Notes[e.variable] = e.address(port), "docker compose"
	}
	if s.catchesMail() {
		ports, err := dockerMail(ctx, r, freePorts)
		if err != nil {
			return err
		}
		environ, args = append(environ, ports...), append(args, mailService)
	}
	s.say("starting %s with docker compose", strings.Join(args[3:], ", "))
	return s.compose(ctx, *r, environ, args...)
}

// compose runs docker compose on this checkout's project; its error is the last line that it printed.
func (s *stack) compose(ctx context.Context, r running, environ []string, args ...string) error {
	args = append(append(r.Compose[1:len(r.Compose):len(r.Compose)],
		"--project-directory", s.root, "--project-name", s.project()), args...)
	cmd := exec.CommandContext(ctx, r.Compose[0], args...) //nolint:gosec // docker compose with arguments of ours
	cmd.Env = append(os.Environ(), environ...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("docker compose failed: %s", strings.Join(append(lines[len(lines)-1:], err.Error()), ": "))
	}
	return nil
}
