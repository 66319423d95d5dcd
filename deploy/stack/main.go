// Command stack runs cartstream on this machine, behind the tasks up, down, run, token, watch, seed and logs.
//
// It fails with one sentence, exit code 1 and nothing left running that it started; 2 means a wrong call.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"cartstream/deploy/launch"
)

const usage = `usage: stack COMMAND [flags] [arguments]

  up [--free-ports] [--embedded]  everything, in the background; --free-ports takes free ports instead of the usual ones,
                                  --embedded leaves Docker alone
  down [--volumes]                stop what up started; --volumes deletes its data too
  run                             api and consumers in the foreground, on the engines that the environment names
  token USER [ROLE]               print a token, valid for 24 hours; ROLE is customer or admin; its address
                                  is USER where that is one, else USER@example.com
  watch USER                      print each frame of that user's WebSocket as a line of JSON
  seed                            load the sample catalogue
  logs [--no-follow]              what api, consumers and embedded engines log
`

var errUsage = errors.New("wrong call")

func main() {
	// The kernel ends the children of run when the thread that started them ends, so that thread has to be the
	// one that lasts as long as this process.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := start(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "%v\n\n%s", err, usage)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "cartstream:", strings.Join(strings.Fields(err.Error()), " "))
		os.Exit(1)
	}
}

// start finds the checkout and runs the command there: results go to out, progress and notes to progress.
func start(ctx context.Context, args []string, out, progress io.Writer) error {
	root, err := launch.Root()
	if err != nil {
		return err
	}
	return command(ctx, newStack(root, out, progress), args)
}

// command does what args say.
func command(ctx context.Context, s *stack, args []string) error {
	if err := s.prepare(); err != nil {
		return err
	}
	if len(args) == 0 {
		return fmt.Errorf("%w: no command", errUsage)
	}
	fs := flag.NewFlagSet(args[0], flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	var parsed struct{ freePorts, embedded, volumes, noFollow bool }
	takes := 0
	switch args[0] {
	case "up":
		fs.BoolVar(&parsed.freePorts, "free-ports", false, "")
		fs.BoolVar(&parsed.embedded, "embedded", false, "")
	case "down":
		fs.BoolVar(&parsed.volumes, "volumes", false, "")
	case "logs":
		fs.BoolVar(&parsed.noFollow, "no-follow", false, "")
	case "token":
		takes = 2
	case "watch":
		takes = 1
	case "run", "seed":
	case "help", "-h", "-help", "--help":
		_, err := io.WriteString(s.out, usage)
		return err
	default:
		return fmt.Errorf("%w: there is no command %q", errUsage, args[0])
	}
	if err := fs.Parse(args[1:]); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if fs.NArg() > takes {
		return fmt.Errorf("%w: unexpected argument %q", errUsage, fs.Arg(takes))
	}
	if takes > 0 && fs.NArg() == 0 {
		return fmt.Errorf("%w: %s needs a USER, as in: task %s -- alice", errUsage, args[0], args[0])
	}
	switch args[0] {
	case "up":
		return s.up(ctx, parsed.freePorts, parsed.embedded)
	case "down":
		return s.down(ctx, parsed.volumes)
	case "run":
		return s.run(ctx)
	case "token":
		return s.token(fs.Arg(0), fs.Arg(1))
	case "watch":
		return s.watch(ctx, fs.Arg(0))
	case "seed":
		return s.seed(ctx)
	default:
		return s.logs(ctx, !parsed.noFollow)
	}
}
