package install

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"

	"cartstream/deploy/engines/engine"
)

// The Debian release that has the package; it is newer than most machines, hence the chroot.
const (
	suite           = "forky"
	documentPackage = "postgresql-18-documentdb"
)

//go:embed documentdb.sh
var initialise string

// DocumentDB is the chroot with PostgreSQL and DocumentDB in it.
func (c *Cache) DocumentDB() string { return filepath.Join(c.documentPath(), "root") }

// DocumentDBTemplate is an initialised, empty data directory, to be copied.
func (c *Cache) DocumentDBTemplate() string { return filepath.Join(c.documentPath(), "template") }

func (c *Cache) documentPath() string {
	return c.path("documentdb", suite+" "+documentPackage+" "+initialise)
}

func (c *Cache) documentDB() step {
	return step{
		what:   "PostgreSQL with DocumentDB (about 90 s, 700 MB)",
		runs:   []program{unshare},
		builds: []program{mmdebstrap},
		final:  c.documentPath(),
		build:  buildDocumentDB,
		asRoot: true,
	}
}

// buildDocumentDB makes the chroot and the template in dir. mmdebstrap's mounts and processes live in
// namespaces of their own, so that nothing of them outlives an interruption.
func buildDocumentDB(ctx context.Context, dir string) error {
	root, template := filepath.Join(dir, "root"), filepath.Join(dir, "template")
	err := command(ctx, "", nil, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
		"mmdebstrap", "--variant=minbase", `--aptopt=Acquire::Check-Valid-Until "false"`,
		"--include="+documentPackage+",ca-certificates", suite, root)
	if err != nil {
		return err
	}
	if err := os.Mkdir(template, 0o700); err != nil {
		return err
	}
	if err := command(ctx, "", nil, "chown", "--reference="+filepath.Join(root, "var/lib/postgresql"), template); err != nil {
		return fmt.Errorf("give the template to postgres: %w", err)
	}
	in := engine.InChroot(root, template, true, "sh", "-c", initialise)
	return command(ctx, "", nil, in[0], in[1:]...)
}
