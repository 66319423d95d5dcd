package install

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"cartstream/deploy/engines/engine"
)

// command runs a program to its end, in dir where given, with env added, and answers with its last words
// when it fails. It ends with ctx and with this process.
func command(ctx context.Context, dir string, env []string, name string, args ...string) error {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second
	err := engine.RunOwned(cmd)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s failed: %w: %s", filepath.Base(name), err, lastWords(out.String()))
	}
	return nil
}

// lastWords is the last line that names an error, or the last line, for an error of one sentence.
func lastWords(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if l := strings.TrimSpace(lines[i]); strings.HasPrefix(l, "E:") || strings.HasPrefix(l, "[ERROR] Failed") {
			return l
		}
	}
	return strings.TrimSpace(lines[len(lines)-1])
}
