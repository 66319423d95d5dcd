// Command consumers is the read side: it carries what happens to carts from Kafka to where it is needed.
//
//	consumers [name…]   runs the named consumers, or the timers; all of it without a name; until SIGINT or SIGTERM
//	consumers dlq …     lists, shows, replays and discards dead letters; consumers dlq --help tells how
//	consumers --help    lists the consumers, the timers and the environment
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"cartstream/api/cart"
	"cartstream/consumers/booksync"
	"cartstream/consumers/deadletter"
	"cartstream/consumers/deadletter/dlq"
	"cartstream/consumers/persist"
	"cartstream/consumers/push"
	"cartstream/consumers/reminder"
	"cartstream/consumers/runner"
	"cartstream/consumers/state"
	"cartstream/schemas/env"
)

// table lists the consumers. Each is a group of its own: it sees every event, and its trouble is nobody else's.
var table = []entry{
	{"persist", "cart.events → MongoDB", func(e *engines, _ prometheus.Registerer, _ *slog.Logger) runner.Runnable {
		return persist.Consumer(e.stored)
	}},
	{"push", "cart.events → Redis pub/sub → WebSockets", func(e *engines, reg prometheus.Registerer, log *slog.Logger) runner.Runnable {
		return push.Consumer(e.carts, reg, log)
	}},
	{"state", "cart.events → cart.state, compacted", func(e *engines, reg prometheus.Registerer, _ *slog.Logger) runner.Runnable {
		return state.Consumer(e.carts, e.reconciler.Suspect, reg)
	}},
	{"booksync", "book.events → every cart that holds the book", func(e *engines, reg prometheus.Registerer, log *slog.Logger) runner.Runnable {
		fanout := booksync.New(e.carts, booksync.Books(e.mongo), reg, log)
		e.beside["booksync"] = fanout
		return booksync.Consumer(fanout)
	}},
	{mailer, "cart.reminders → mail", func(e *engines, _ prometheus.Registerer, _ *slog.Logger) runner.Runnable {
		e.beside[mailer] = e.mailer
		return reminder.Consumer(e.mailer)
	}},
	{deadletter.Group, "cart.dlq → MongoDB dead_letters, for whoever looks into what failed", func(e *engines, _ prometheus.Registerer, _ *slog.Logger) runner.Runnable {
		return e.lot.Consumer()
	}},
}

// entry is a consumer by its name, which is its group too, and what it carries where.
type entry struct {
	name, carries string
	declare       func(*engines, prometheus.Registerer, *slog.Logger) runner.Runnable
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// command returns the exit code: 2 for what whoever started this has to change, 1 for what went wrong later.
func command(ctx context.Context, args []string, out, complaints io.Writer) int {
	if len(args) > 0 && args[0] == "dlq" {
		return dlq.Run(ctx, args[1:], out, complaints)
	}
	if slices.ContainsFunc(args, func(a string) bool { return a == "--help" || a == "-help" || a == "-h" }) {
		if err := help(out); err != nil {
			return 1
		}
		return 0
	}
	chosen, timed, unknown := choose(args)
	cfg, faults := readConfig()
	if err := errors.Join(unknown, faults); err != nil {
		_, _ = fmt.Fprintf(complaints, "consumers: %v\n", err) // nobody is left to tell
		return 2
	}
	log := cfg.Log.Logger(complaints)
	chosen, err := deliverable(chosen, cfg.Mail, log)
	if err != nil {
		_, _ = fmt.Fprintf(complaints, "consumers: %v\n", err)
		return 2
	}
	err = run(ctx, cfg, chosen, timed, log)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, env.ErrPartitions), errors.Is(err, cart.ErrShards):
		log.Error("refusing to start", "error", err)
		return 2
	}
	log.Error("ended", "error", err)
	return 1
}
