// Command engines runs the real engines that cartstream stands on, without Docker, on a Debian machine:
// Redis, Apache Kafka and a MongoDB-compatible database.
//
// It fails with one sentence, exit code 1 and nothing left running; 2 means a wrong call.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"cartstream/deploy/engines/install"
)

const usage = `usage: engines COMMAND [flags] [arguments]

  up [-free-ports] [-dir DIR] [ENGINE…]     start engines in the background; prints their addresses for the shell
  down [-volumes] [-dir DIR]                stop what up started; -volumes deletes the data too
  env [-dir DIR]                            print the addresses of what runs
  install [ENGINE…]                         only install what is missing
  exec [-engines E,…] COMMAND…              run a command with engines of its own, stopped when it ends

An ENGINE is redis, kafka or mongodb; none named means all. %s moves what is
installed and, unless -dir is given, the data.
`

var errUsage = errors.New("wrong call")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	var ended commandError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.As(err, &ended):
		os.Exit(int(ended)) // the command has said why
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "engines: interrupted")
		os.Exit(1)
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "engines: %v\n"+usage, err, install.CacheVariable)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "engines:", strings.Join(strings.Fields(err.Error()), " "))
		os.Exit(1)
	}
}

// run does what args say: addresses go to out, progress to progress.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: no command", errUsage)
	}
	cache, err := install.Open(progress)
	if err != nil {
		return err
	}
	fs := flag.NewFlagSet(args[0], flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	s := stack{cache: cache, progress: progress}
	fs.StringVar(&s.dir, "dir", filepath.Join(cache.Dir(), "run"), "")
	freePorts := fs.Bool("free-ports", false, "")
	volumes := fs.Bool("volumes", false, "")
	only := fs.String("engines", "", "")
	if err := fs.Parse(args[1:]); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	switch command := args[0]; command {
	case "up":
		engines, err := parseEngines(fs.Args())
		if err != nil {
			return err
		}
		if !*freePorts {
			s.ports = standardPorts
		}
		if err := s.up(ctx, engines); err != nil {
			return err
		}
		return s.env(out)
	case "down":
		return s.down(ctx, *volumes)
	case "env":
		return s.env(out)
	case "install":
		engines, err := parseEngines(fs.Args())
		if err != nil {
			return err
		}
		return cache.Ensure(ctx, engines...)
	case "exec":
		if fs.NArg() == 0 {
			return fmt.Errorf("%w: exec needs a command", errUsage)
		}
		engines, err := parseEngines(strings.FieldsFunc(*only, func(r rune) bool { return r == ',' }))
		if err != nil {
			return err
		}
		return s.exec(ctx, engines, fs.Args())
	default:
		return fmt.Errorf("%w: there is no command %q", errUsage, command)
	}
}

func parseEngines(names []string) ([]install.Engine, error) {
	if len(names) == 0 {
		return install.Engines(), nil
	}
	var engines []install.Engine
	for _, name := range names {
		e, err := install.ParseEngine(name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errUsage, err)
		}
		engines = append(engines, e)
	}
	return engines, nil
}
