package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// ErrNotDebian says that a program is missing where it can't be installed by apt.
var ErrNotDebian = errors.New("this is no Debian machine where apt could install it")

// ErrNotRoot says that something has to be installed and only root may.
var ErrNotRoot = errors.New("only root can install it")

// program is a command and the Debian package that has it.
type program struct{ command, pkg string }

var (
	redisServer = program{"redis-server", "redis-server"}
	redisCLI    = program{"redis-cli", "redis-tools"}
	java        = program{"java", "default-jre-headless"}
	maven       = program{"mvn", "maven"}
	mmdebstrap  = program{"mmdebstrap", "mmdebstrap"}
	unshare     = program{"unshare", "util-linux"}
)

func absent(programs []program) []program {
	return slices.DeleteFunc(slices.Clone(programs), func(p program) bool {
		_, err := exec.LookPath(p.command)
		return err == nil
	})
}

// packages installs, in one go, the packages of all programs that the steps need and the machine lacks.
func (c *Cache) packages(ctx context.Context, steps []step) error {
	var programs []program
	for _, s := range steps {
		programs = append(programs, s.runs...)
		if s.final != "" && !exists(s.final) {
			if s.asRoot && os.Geteuid() != 0 {
				return fmt.Errorf("%s is missing and %w", s.what, ErrNotRoot)
			}
			programs = append(programs, s.builds...)
		}
	}
	lacking := absent(programs)
	if len(lacking) == 0 {
		return nil
	}
	var names []string
	for _, p := range lacking {
		names = append(names, p.pkg)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	list := strings.Join(names, ", ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("%s is missing and %w", list, ErrNotDebian)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("the package %s is missing and %w", list, ErrNotRoot)
	}
	c.say("installing the packages " + list)
	if err := command(ctx, "", nil, "apt-get", "-q", "update"); err != nil {
		return err
	}
	return quietly(policyFile, func() error {
		args := []string{"-q", "-y", "-o", "DPkg::Lock::Timeout=120", "--no-install-recommends", "install"}
		return command(ctx, "", []string{"DEBIAN_FRONTEND=noninteractive"}, "apt-get", append(args, names...)...)
	})
}

// Debian asks this file whether a package may start its service; 101 means no.
const policyFile = "/usr/sbin/policy-rc.d"

const policy = "#!/bin/sh\n# cartstream: a redis-server that is only being installed must not take the port\nexit 101\n"

// quietly runs f while, by the policy in file, no package may start a service. A policy that the machine has
// stays as it is; one that an interrupted call left goes.
func quietly(file string, f func() error) error {
	if has, err := os.ReadFile(file); err == nil && string(has) != policy { //nolint:gosec // Debian names the file
		return f()
	}
	if err := os.WriteFile(file, []byte(policy), 0o755); err != nil { //nolint:gosec // Debian runs it
		return fmt.Errorf("keep packages from starting services: %w", err)
	}
	return errors.Join(f(), os.Remove(file))
}
