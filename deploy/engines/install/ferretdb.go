package install

import (
	"context"
	"path/filepath"
)

const ferretModule = "github.com/FerretDB/FerretDB/v2/cmd/ferretdb@v2.7.0"

// FerretDB is the ferretdb program.
func (c *Cache) FerretDB() string { return filepath.Join(c.path("ferretdb", ferretModule), "ferretdb") }

func (c *Cache) ferretDB() step {
	return step{
		what:   "FerretDB (about 2 min)",
		builds: []program{{"go", "golang-go"}},
		final:  c.path("ferretdb", ferretModule),
		build: func(ctx context.Context, dir string) error {
			// The caller's settings for its own module, or for another platform, are not meant for this one.
			env := []string{"GOBIN=" + dir, "GOFLAGS=", "GOWORK=off", "GOOS=", "GOARCH=", "CGO_ENABLED=0"}
			return command(ctx, dir, env, "go", "install", "-trimpath", ferretModule)
		},
	}
}
