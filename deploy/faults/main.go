// Command faults runs cartstream on real engines, lets a crowd of users change their carts while processes die, networks
// break and Redis loses data, heals everything, and then checks that nothing that was acknowledged is lost and that
// everything agrees. It ends with 1 where the contract was broken, and with 2 where it was called wrongly.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"cartstream/deploy/launch/scratch"
)

// settings are what the command line says.
type settings struct {
	seed    uint64
	overlay string
	keep    bool
	times   int
	heal    bool
	soak    time.Duration
	names   []string
}

var errUsage = errors.New("wrong call")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	ctx, cancel := scratch.WithParent(ctx)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(2)
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "faults: interrupted")
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

// run runs the scenarios that args name, the default ones without a name: figures go to out, what it is doing to
// progress. What it started has ended and its data is gone when it returns. It goes on after a scenario that found the
// contract broken, and then fails.
func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	o, err := parseArgs(args, progress)
	if err != nil {
		return err
	}
	chosen := o.chosen()
	h := &harness{out: out, progress: progress, keep: o.keep}
	if h.scratch, err = scratch.Open(ctx, "faults", progress); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	began := time.Now()
	if err := h.scratch.Build(ctx, o.overlay, "cartstream/api", "cartstream/consumers"); err != nil {
		return err
	}
	h.say("built after %.0f s; repeat with -seed %d", time.Since(began).Seconds(), o.seed)
	var broken, failed []string
	for _, s := range chosen {
		err := h.run(ctx, s, o)
		switch {
		case ctx.Err() != nil:
			return context.Canceled
		case errors.Is(err, errViolated):
			broken = append(broken, s.name)
			_, _ = fmt.Fprintf(out, "%s: %v\n", s.name, err)
		case err != nil:
			failed = append(failed, s.name)
			h.say("%s: %v", s.name, err)
		}
	}
	h.tables.write(out)
	if len(failed) > 0 {
		return fmt.Errorf("%s could not be run; repeat with -seed %d", strings.Join(failed, ", "), o.seed)
	}
	if len(broken) > 0 {
		return fmt.Errorf("%w in %s; repeat with -seed %d", errViolated, strings.Join(broken, ", "), o.seed)
	}
	return nil
}

func (o settings) chosen() []scenario {
	if o.soak > 0 {
		return []scenario{soak}
	}
	if len(o.names) == 0 {
		return scenarios
	}
	var chosen []scenario
	for _, s := range slices.Concat(scenarios, asked) {
		if slices.Contains(o.names, s.name) {
			chosen = append(chosen, s)
		}
	}
	return chosen
}

func parseArgs(args []string, complaints io.Writer) (o settings, err error) {
	fs := flag.NewFlagSet("faults", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Uint64Var(&o.seed, "seed", rand.Uint64(), "decides who calls what and which faults strike") //nolint:gosec // nothing secret
	fs.StringVar(&o.overlay, "overlay", "", "`file` for go build -overlay, to test a build that is broken on purpose")
	fs.IntVar(&o.times, "times", 1, "how many times as many faults as usual strike")
	fs.BoolVar(&o.heal, "heal", false, "let each strike heal before the next, and measure how long it takes")
	fs.BoolVar(&o.keep, "keep", false, "keep the directory with all logs and data, and say where it is")
	usage := func() {
		_, _ = fmt.Fprintln(complaints, "usage: faults [flags] [SCENARIO…]\n       faults [flags] soak DURATION")
		fs.SetOutput(complaints)
		fs.PrintDefaults()
		for _, s := range scenarios {
			_, _ = fmt.Fprintf(complaints, "  %s\n    \t%s\n", s.name, s.about)
		}
		for _, s := range asked {
			_, _ = fmt.Fprintf(complaints, "  %s (not run unless named)\n    \t%s\n", s.name, s.about)
		}
	}
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		usage()
		return o, err
	} else if err != nil {
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	o.names = fs.Args()
	if len(o.names) > 0 && o.names[0] == "soak" {
		if len(o.names) == 2 {
			o.soak, err = time.ParseDuration(o.names[1])
		}
		if err != nil || o.soak < 10*time.Second {
			return o, fmt.Errorf("%w: soak needs a duration of at least 10s, such as 10m", errUsage)
		}
		return o, nil
	}
	known := names()
	for _, name := range o.names {
		if !slices.Contains(known, name) {
			return o, fmt.Errorf("%w: there is no scenario %q, only %s", errUsage, name, strings.Join(known, ", "))
		}
	}
	return o, nil
}

func names() (all []string) {
	for _, s := range slices.Concat(scenarios, asked) {
		all = append(all, s.name)
	}
	return all
}
