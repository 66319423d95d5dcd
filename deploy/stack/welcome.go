package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
)

// demoUser is whose cart the lines to paste are about.
const demoUser = "alice"

// welcome prints where everything is and what to try.
func (s *stack) welcome(ctx context.Context, r running) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\n  %-10s %s/v1  (%s/v1/openapi.json)\n", "API", baseURL(r.Env["HTTP_ADDR"]), baseURL(r.Env["HTTP_ADDR"]))
	fmt.Fprintf(&b, "  %-10s %s  (/readyz, /metrics)\n", "consumers", baseURL(r.Env["OPS_ADDR"]))
	var exports []string
	for _, e := range engines {
		fmt.Fprintf(&b, "  %-10s %s  (%s)\n", e.name, masked(r.Env[e.variable]), r.Notes[e.variable])
		if s.environ[e.variable] == "" {
			exports = append(exports, e.variable+"="+quoted(r.Env[e.variable]))
		}
	}
	fmt.Fprintf(&b, "  %-10s %s\n", "mails", s.mails(r))
	fmt.Fprintf(&b, "  %-10s %s\n", "logs", s.path("logs"))
	if s.environ["JWT_SECRET"] == "" && r.Env["JWT_SECRET"] != "" {
		exports = append(exports, "JWT_SECRET="+quoted(r.Env["JWT_SECRET"]))
	}
	if len(exports) > 0 {
		fmt.Fprintf(&b, "\nFor programs of yours:\n\nexport %s\n", strings.Join(exports, " "))
	}
	if err := s.tryThis(ctx, &b, r); err != nil {
		return err
	}
	_, err := io.WriteString(s.out, b.String())
	return err
}

// tryThis adds a token and the two lines that end in a frame.
func (s *stack) tryThis(ctx context.Context, b *strings.Builder, r running) error {
	if r.Env["JWT_SECRET"] == "" {
		b.WriteString("\nTokens are signed by the keys of JWT_JWKS_URL; bring one of those to try it.\n")
		return nil
	}
	token, err := sign(r.Env, demoUser, "")
	if err != nil {
		return err
	}
	fmt.Fprintf(b, "\nA token for %s, valid for 24 hours:\n\n%s\n", demoUser, token)
	book, err := firstBook(ctx, r.Env)
	if err != nil {
		return err
	}
	if book == "" {
		b.WriteString("\nNo book is available: task seed loads some.\n")
		return nil
	}
	fmt.Fprintf(b, `
Try it. In one terminal:

%s

and in another, which makes it print a frame:

curl -X POST %s/v1/cart/items -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -d '{"bookId":"%s","quantity":1}'
`, taskLine("watch", demoUser), baseURL(r.Env["HTTP_ADDR"]), token, book)
	return nil
}

// taskLine is how to run a task from the checkout here: through Task where it is installed, else by the binary that up
// has built.
func taskLine(task, argument string) string {
	if _, err := exec.LookPath("task"); err == nil {
		return "task " + task + " -- " + argument
	}
	return filepath.Join(".cartstream", "bin", "stack") + " " + task + " " + argument
}

// quoted is a value as a shell takes it.
func quoted(value string) string {
	if strings.Trim(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:,@%+=-") == "" {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}
