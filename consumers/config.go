package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"cartstream/consumers/parking"
	"cartstream/schemas/env"
)

// config is all that the environment says.
type config struct {
	env.Consumers

	Redis     env.Redis
	Kafka     env.Kafka
	MongoDB   env.MongoDB
	JWT       env.JWT
	Mail      env.Mail
	Links     env.Links
	Currency  env.Currency
	Reminders env.Reminders
	Timers    env.Timers
	Log       env.Log
	Traces    env.Traces
}

// readConfig returns everything that is wrong with the environment as one error.
func readConfig() (config, error) {
	var c config
	err := env.Parse(&c)
	if c.SpoolLimit < 1 {
		err = errors.Join(err, errors.New("SPOOL_LIMIT_MIB is at least 1"))
	}
	if c.SpoolDir != "" {
		if fault := parking.CheckDir(c.SpoolDir); fault != nil {
			err = errors.Join(err, fmt.Errorf("SPOOL_DIR takes no files: %w", fault))
		}
	}
	return c, errors.Join(err, env.CheckShards(c.Redis, c.Kafka), env.CheckLinks(c.Mail.Addr, c.Links, c.JWT))
}

// choose returns the table's entries of those names, in its order, and whether the timers are among them; all of them
// without a name.
func choose(names []string) (chosen []entry, timed bool, err error) {
	if len(names) == 0 {
		return table, true, nil
	}
	var known []string
	for _, e := range table {
		known = append(known, e.name)
		if slices.Contains(names, e.name) {
			chosen = append(chosen, e)
		}
	}
	known = append(known, clock)
	var faults []error
	for _, name := range names {
		if !slices.Contains(known, name) {
			faults = append(faults, fmt.Errorf("unknown consumer %q: there are %s", name, strings.Join(known, ", ")))
		}
	}
	return chosen, slices.Contains(names, clock), errors.Join(faults...)
}

func help(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	// Errors stay in the writer: Flush reports them.
	_, _ = fmt.Fprint(t, "consumers [name…] runs what has these names, all of it without a name:\n\n")
	for _, e := range table {
		_, _ = fmt.Fprintf(t, "  %s\t%s\n", e.name, e.carries)
	}
	_, _ = fmt.Fprintf(t, "  %s\twhat happens by the clock, each once however many processes run them:\n", clock)
	for _, one := range timers {
		_, _ = fmt.Fprintf(t, "    %s\t%s\n", one.name, one.does)
	}
	_, _ = fmt.Fprint(t, "\nconsumers dlq … lists, shows, replays and discards dead letters: consumers dlq --help\n")
	_, _ = fmt.Fprint(t, "\nThe environment, with defaults:\n\n")
	if err := t.Flush(); err != nil {
		return err
	}
	return env.Help(w, &config{})
}
