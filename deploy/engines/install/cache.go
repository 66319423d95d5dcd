// Package install brings the real engines onto a Debian machine: packages through apt, Kafka through
// Maven, DocumentDB through mmdebstrap, FerretDB through Go. What it builds is kept in a cache outside
// the repository, so that it is built once a machine.
package install

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// CacheVariable is the environment variable that moves the cache; the default is
// cartstream/engines in the user's cache directory.
const CacheVariable = "CARTSTREAM_ENGINES_CACHE"

// Cache holds what was built. Each thing in it is complete or absent: it is built in a temporary folder
// and renamed. Its name changes with what it is made of, so a changed version is built anew.
type Cache struct {
	dir      string
	progress io.Writer
}

// Open finds the cache's directory; it makes nothing yet. One line for each slow step goes to progress.
func Open(progress io.Writer) (*Cache, error) {
	dir := os.Getenv(CacheVariable)
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find the cache directory, or set %s: %w", CacheVariable, err)
		}
		dir = filepath.Join(base, "cartstream", "engines")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the cache directory: %w", err)
	}
	return &Cache{dir: dir, progress: progress}, nil
}

// Dir is the cache's directory.
func (c *Cache) Dir() string { return c.dir }

func (c *Cache) path(name, madeOf string) string {
	sum := sha256.Sum256([]byte(madeOf))
	return filepath.Join(c.dir, name+"-"+hex.EncodeToString(sum[:4]))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// exclusively runs f while no other process installs into the cache, after a look that says in one line
// that it waits for one.
func (c *Cache) exclusively(ctx context.Context, f func() error) error {
	if err := os.MkdirAll(c.dir, 0o755); err != nil { //nolint:gosec // nothing secret: programs
		return fmt.Errorf("make the cache: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock the cache: %w", err)
	}
	defer lock.Close() //nolint:errcheck // nothing was written
	for said := false; ; said = true {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f()
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("lock the cache: %w", err)
		}
		if !said {
			c.say("another process is installing, waiting for it")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// build makes final by f, which fills the empty folder that it is given, all or nothing.
func (c *Cache) build(ctx context.Context, final, what string, f func(ctx context.Context, dir string) error) error {
	start := time.Now()
	c.say("installing " + what)
	half := filepath.Join(c.unfinished(), filepath.Base(final))
	if err := os.MkdirAll(half, 0o755); err != nil { //nolint:gosec // nothing secret: programs
		return fmt.Errorf("install %s: %w", what, err)
	}
	if err := f(ctx, half); err != nil {
		return fmt.Errorf("install %s: %w", what, err)
	}
	if err := os.Rename(half, final); err != nil {
		return fmt.Errorf("install %s: %w", what, err)
	}
	c.say(fmt.Sprintf("installed %s in %.0f s", what, time.Since(start).Seconds()))
	return nil
}

func (c *Cache) unfinished() string { return filepath.Join(c.dir, "unfinished") }

// dropUnfinished removes what an installation that was interrupted left. It refuses to walk into a mount.
func (c *Cache) dropUnfinished() error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err == nil && strings.Contains(string(mounts), " "+c.unfinished()+"/") {
		return fmt.Errorf("something is mounted below %s: unmount it first", c.unfinished())
	}
	if err := os.RemoveAll(c.unfinished()); err != nil {
		return fmt.Errorf("remove what an interrupted installation left: %w", err)
	}
	return nil
}

func (c *Cache) say(line string) { _, _ = fmt.Fprintln(c.progress, "engines:", line) }
