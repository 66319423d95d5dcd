// Package dlq is the command "consumers dlq": the ops API's calls about dead letters, for whoever sits at a terminal. It
// needs nothing but a running consumers process and the environment that this has too.
package dlq

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"

	"cartstream/schemas/env"
)

// settings are what the command takes from the environment: names that the service takes too, and two of its own.
type settings struct {
	URL      string     `env:"OPS_URL" help:"the ops API of a running consumers, as in http://10.0.0.7:8090; OPS_ADDR on this machine, where unset"`
	Addr     string     `env:"OPS_ADDR" envDefault:":8090" help:"where the consumers on this machine serve the ops API"`
	Token    env.Secret `env:"OPS_TOKEN" help:"a token of role admin; where unset, one that lasts five minutes is made with JWT_SECRET"`
	Secret   env.Secret `env:"JWT_SECRET" help:"the secret of HS256 tokens; this or OPS_TOKEN is needed"`
	Issuer   string     `env:"JWT_ISSUER" help:"the iss that the token is made with"`
	Audience string     `env:"JWT_AUDIENCE" help:"the aud that the token is made with"`
}

// errUsage says that the command was called wrongly; what is wrong was written already, or is in the error.
var errUsage = errors.New("usage")

// usage is a fault of the call.
func usage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUsage, fmt.Sprintf(format, args...))
}

// call is one run of the command.
type call struct {
	flags *flag.FlagSet
	args  []string // those that are no flags
	json  bool
	api   *client
	out   io.Writer
}

// commands by name, with what they do and how they are called.
var commands = []struct {
	name, args, does string
	declare          func(c *call) func(context.Context) error
}{
	{"list", "[flags]", "shows letters, those that failed last first; parked ones, unless --status says otherwise", list},
	{"show", "ID", "shows a letter whole: what is known, headers, value, and what was done with it", show},
	{"replay", "ID… | flags", "gives letters to their own group once more: those of the ids, or the parked ones that the flags mean", replay},
	{"discard", "ID… --reason TEXT", "gives letters up", discard},
}

// Run runs the command on what follows "dlq" and returns the exit code: 2 where it was called wrongly, 1 where it could not
// do what it was to do, or a replay failed.
func Run(ctx context.Context, args []string, out, complaints io.Writer) int {
	err := run(ctx, args, out)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		_, _ = fmt.Fprintf(complaints, "consumers dlq: %v; consumers dlq --help tells more\n", err) // nobody is left to tell
		return 2
	}
	_, _ = fmt.Fprintf(complaints, "consumers dlq: %v\n", err)
	return 1
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 || args[0] == "--help" || args[0] == "-help" || args[0] == "-h" || args[0] == "help" {
		return help(out)
	}
	for _, command := range commands {
		if command.name != args[0] {
			continue
		}
		c := &call{flags: flag.NewFlagSet(command.name, flag.ContinueOnError), out: out}
		c.flags.SetOutput(io.Discard)
		c.flags.BoolVar(&c.json, "json", false, "the answer as JSON, as the ops API gives it")
		do := command.declare(c)
		c.flags.Usage = func() {
			_, _ = fmt.Fprintf(out, "consumers dlq %s %s\n  %s\n\n", command.name, command.args, command.does)
			c.flags.SetOutput(out)
			c.flags.PrintDefaults()
		}
		if err := c.parse(args[1:]); err != nil {
			return err
		}
		var s settings
		if err := env.Parse(&s); err != nil {
			return usage("%v", err)
		}
		var err error
		if c.api, err = newClient(s); err != nil {
			return err
		}
		return do(ctx)
	}
	return usage("there is no command %q", args[0])
}

// parse takes flags before and after other arguments alike.
func (c *call) parse(args []string) error {
	for {
		if err := c.flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			return err
		} else if err != nil {
			return usage("%v", err)
		}
		if c.flags.NArg() == 0 {
			return nil
		}
		c.args = append(c.args, c.flags.Arg(0))
		args = c.flags.Args()[1:]
	}
}

func help(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	// Errors stay in the writer: Flush reports them.
	_, _ = fmt.Fprint(t, "consumers dlq asks a running consumers process about dead letters:\n\n")
	for _, c := range commands {
		_, _ = fmt.Fprintf(t, "  consumers dlq %s %s\t%s\n", c.name, c.args, c.does)
	}
	_, _ = fmt.Fprint(t, `
Each has --help, and --json for programs. At three in the morning:

  consumers dlq list                                 what is parked, and what a replay would do
  consumers dlq show ID                              one letter whole
  consumers dlq replay --group persist --dry-run     how many there are, by verdict; nothing is replayed
  consumers dlq replay --group persist --rate 50     one after the other, to that group and no other
  consumers dlq discard ID --reason "written by hand, order 4711"

Verdicts: would-apply (the group lacks just this), superseded (the store has it, or newer; these resolve themselves),
needs-full-sync (the group would read the whole cart), undecodable (a replay would fail again). "-": the store doesn't
answer, or the group is a foreign one, whose letters can't be replayed here.

The environment, with defaults:

`)
	if err := t.Flush(); err != nil {
		return err
	}
	return env.List(out, &settings{})
}
