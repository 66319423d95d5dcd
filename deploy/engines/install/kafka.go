package install

import (
	"context"
	_ "embed"
	"os"
	"path/filepath"
)

//go:embed kafka/pom.xml
var pom string

// KafkaLibs is the folder with Kafka's jars.
func (c *Cache) KafkaLibs() string { return filepath.Join(c.path("kafka", pom), "libs") }

func (c *Cache) kafka() step {
	return step{
		what:   "Kafka",
		runs:   []program{java},
		builds: []program{maven},
		final:  c.path("kafka", pom),
		build: func(ctx context.Context, dir string) error {
			if err := os.WriteFile(filepath.Join(dir, "pom.xml"), []byte(pom), 0o600); err != nil {
				return err
			}
			return command(ctx, dir, nil, "mvn", "-B", "-q", "dependency:copy-dependencies",
				"-DoutputDirectory="+filepath.Join(dir, "libs"), "-DincludeScope=runtime")
		},
	}
}
