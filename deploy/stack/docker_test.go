package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A docker that only says what it was asked.
const fakeDocker = `#!/bin/sh
echo "$@ REDIS_PORT=$REDIS_PORT KAFKA_PORT=$KAFKA_PORT SMTP_PORT=$SMTP_PORT MAIL_UI_PORT=$MAIL_UI_PORT" >> "$FAKE_DOCKER_CALLS"
case "$*" in
info) [ "$FAKE_DOCKER" != away ] ;;
"compose version --short") [ "$FAKE_DOCKER" = old ] && echo 1.29.2 || echo v2.40.1 ;;
*" up "*) [ "$FAKE_DOCKER" != broken ] || { echo Pulling; echo "no such image" >&2; exit 18; } ;;
esac
`

func TestUpWithDocker(t *testing.T) {
	newDocker := func(t *testing.T, mode string) (c *checkout, calls func() string) {
		c = newCheckout(t)
		c.write("docker/docker", fakeDocker)
		c.write("docker/docker-compose", "#!/bin/sh\nexit 1\n")
		t.Setenv("PATH", filepath.Join(c.dir, "docker")+":"+os.Getenv("PATH"))
		t.Setenv("FAKE_DOCKER", mode)
		t.Setenv("FAKE_DOCKER_CALLS", filepath.Join(c.dir, "calls"))
		return c, func() string {
			b, _ := os.ReadFile(filepath.Join(c.dir, "calls"))
			return string(b)
		}
	}
	t.Run("engines come with docker compose, in a project of the checkout's own, and go with down", func(t *testing.T) {
		c, calls := newDocker(t, "there")
		out := c.must("up", "--free-ports")
		contains(t, out, "docker compose", "Mailpit: shows every mail, sends none on")
		project := regexp.MustCompile(`--project-name (cartstream-[0-9a-f]{8}) up --detach --wait redis kafka mongodb mailpit REDIS_PORT=\d+ KAFKA_PORT=\d+ SMTP_PORT=\d+ MAIL_UI_PORT=\d+`).FindStringSubmatch(calls())
		if project == nil || c.alive() != "api consumers" {
			t.Fatalf("%q runs, docker was asked:\n%s", c.alive(), calls())
		}
		c.must("down")
		contains(t, calls(), "--project-name "+project[1]+" down ")
		c.must("down", "--volumes")
		contains(t, calls(), "--project-name "+project[1]+" down --volumes ")
	})
	t.Run("where the Docker engine is gone since, up starts embedded ones", func(t *testing.T) {
		c, _ := newDocker(t, "there")
		c.must("up", "--free-ports")
		kill(t, c, apiProcess)
		t.Setenv("FAKE_DOCKER", "away")
		contains(t, c.must("up", "--free-ports"), "embedded: kfake")
	})
	t.Run("an engine that the environment names is not started", func(t *testing.T) {
		c, calls := newDocker(t, "there")
		mine := listener(t)
		t.Setenv("REDIS_ADDRS", mine.Addr().String())
		contains(t, c.must("up", "--free-ports"), mine.Addr().String()+"  (yours)")
		contains(t, calls(), "up --detach --wait kafka mongodb mailpit ")
	})
	for claim, mode := range map[string]string{
		"where no Docker engine answers they are embedded":  "away",
		"where docker compose is too old they are embedded": "old",
	} {
		t.Run(claim, func(t *testing.T) {
			c, _ := newDocker(t, mode)
			contains(t, c.must("up", "--free-ports"), "embedded: kfake")
			if c.alive() != "api consumers engines" {
				t.Fatalf("%q runs", c.alive())
			}
		})
	}
	t.Run("what docker compose can't do is one sentence, and nothing is left", func(t *testing.T) {
		c, calls := newDocker(t, "broken")
		_, err := c.does("up", "--free-ports")
		if err == nil || !strings.Contains(err.Error(), "docker compose failed: no such image") {
			t.Fatalf("got %v", err)
		}
		contains(t, calls(), " down ")
		if c.alive() != "" {
			t.Fatalf("%q runs", c.alive())
		}
	})
}
