// Command bench measures cartstream's hot paths on the real engines, each beside a baseline taken in the same minutes:
// the two take turns, so that whatever else the machine does meets both. It prints figures and ratios, no pass or fail.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"cartstream/deploy/launch/scratch"
)

// options are what the command line says.
type options struct {
	rounds      int
	roundsGiven bool
	each        time.Duration // of one side's turn in a round
	profile     string
	carts       int
	scale       float64
	names       []string
}

// bench is what every benchmark gets.
type bench struct {
	options
	out, progress io.Writer
	env           []string // of the product, besides what every benchmark needs
	scratch       *scratch.Dir
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
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "bench: interrupted")
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "bench:", strings.Join(strings.Fields(err.Error()), " "))
		os.Exit(1)
	}
}

// run runs the benchmarks that args name, without a name all but those that take ten minutes: figures go to out, what it is doing to progress. What it
// started has ended and its data is gone when it returns.
func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	b := &bench{options: o, out: out, progress: progress}
	if b.scratch, err = scratch.Open(ctx, "bench", progress); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.scratch.Close()) }()
	if err := b.scratch.Build(ctx, "", "cartstream/api", "cartstream/consumers", "cartstream/deploy/bench/baseline", "cartstream/deploy/bench/gateway"); err != nil {
		return err
	}
	if err := b.printMachine(); err != nil {
		return err
	}
	for _, one := range benches {
		if len(o.names) == 0 && one.rounds == apart || len(o.names) > 0 && !slices.Contains(o.names, one.name) {
			continue
		}
		this := *b
		if one.rounds == once && !o.roundsGiven {
			this.rounds = 1
			if _, err := fmt.Fprintf(out, "\n%s runs one round: it takes over a minute\n", one.name); err != nil {
				return err
			}
		}
		if err := one.run(ctx, &this); err != nil {
			if ctx.Err() != nil {
				return context.Canceled
			}
			return fmt.Errorf("%s: %w", one.name, err)
		}
	}
	return nil
}

func parse(args []string, complaints io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.IntVar(&o.rounds, "rounds", 7, "how often each side has its turn")
	seconds := fs.Float64("seconds", 1.5, "how long one turn is measured")
	fs.StringVar(&o.profile, "profile", "", "`file` for a CPU profile of the api, taken in a turn of its own at the end of add-item")
	fs.IntVar(&o.carts, "carts", 100_000, "how many carts hold the book of book-fanout")
	fs.Float64Var(&o.scale, "scale", 1, "share of the carts and events that a benchmark is meant for; other figures than 1 gives are for a quick look")
	usage := func() {
		_, _ = fmt.Fprintln(complaints, "usage: bench [flags] [NAME…]")
		fs.SetOutput(complaints)
		fs.PrintDefaults()
		for _, one := range benches {
			_, _ = fmt.Fprintf(complaints, "  %s\n    \t%s\n", one.name, one.about)
		}
	}
	if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
		usage()
		return o, err
	} else if err != nil {
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	fs.Visit(func(f *flag.Flag) { o.roundsGiven = o.roundsGiven || f.Name == "rounds" })
	o.each, o.names = time.Duration(*seconds*float64(time.Second)), fs.Args()
	if o.carts < 1 {
		return o, fmt.Errorf("%w: at least one cart", errUsage)
	}
	if o.scale <= 0 || o.scale > 1 {
		return o, fmt.Errorf("%w: the scale is above 0, and 1 at most", errUsage)
	}
	if o.rounds < 1 || o.each < 100*time.Millisecond {
		return o, fmt.Errorf("%w: at least one round of 0.1 seconds", errUsage)
	}
	for _, name := range o.names {
		if !slices.Contains(names(), name) {
			return o, fmt.Errorf("%w: there is no benchmark %q, only %s", errUsage, name, strings.Join(names(), ", "))
		}
	}
	return o, nil
}

// sized is n carts or events at the scale that the command line asks for.
func (o options) sized(n int) int { return max(1, int(float64(n)*o.scale)) }

func names() []string {
	var all []string
	for _, one := range benches {
		all = append(all, one.name)
	}
	return all
}

func (b *bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.progress, "bench: "+format+"\n", args...)
}
