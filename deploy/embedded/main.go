// Command embedded runs the engines that cartstream needs inside one process, with nothing to
// install but Go: Kafka (kfake), a MongoDB-compatible database (FerretDB 1 on SQLite) and Redis
// (a redis-server of the machine where there is one, else miniredis), and a mail server that keeps
// mails in place of sending them.
//
// Once every engine answers, the first line on stdout is the JSON of [Addresses]; nothing else is
// ever written there. It then runs until SIGTERM or SIGINT, or, with -exit-with-stdin, until its
// standard input ends, which also happens when whoever holds the other end is killed.
//
// Exit codes: 0 after a stop that was asked for, 1 when an engine can't start or died, 2 for bad flags.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
)

// Addresses is the first line on stdout. An engine that was not asked for has no field.
type Addresses struct {
	Redis       string `json:"redis,omitempty"`       // host:port
	RedisServer string `json:"redisServer,omitempty"` // redis-server or miniredis
	Kafka       string `json:"kafka,omitempty"`       // host:port, one broker
	MongoDB     string `json:"mongodb,omitempty"`     // a URI with the database cartstream
	Mail        string `json:"mail,omitempty"`        // host:port, SMTP
	MailDir     string `json:"mailDir,omitempty"`     // where mails are kept, a file each
}

type config struct {
	engines       map[string]bool
	redisPort     int
	kafkaPort     int
	mongodbPort   int
	mailPort      int
	data          string
	miniredis     bool
	exitWithStdin bool
}

func main() {
	// The kernel ends redis-server when the thread that started it ends, so that thread has to be
	// the one that lasts as long as the process.
	runtime.LockOSThread()

	cfg, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "embedded:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if cfg.exitWithStdin {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	if err := run(ctx, cfg, os.Stdout); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "embedded:", err)
		os.Exit(1)
	}
}

func parse(args []string) (config, error) {
	var cfg config
	fs := flag.NewFlagSet("embedded", flag.ContinueOnError)
	engines := fs.String("engines", "redis,kafka,mongodb", "which engines to run; mail is one more")
	fs.IntVar(&cfg.redisPort, "redis-port", 0, "port of Redis on 127.0.0.1, 0 = a free one")
	fs.IntVar(&cfg.kafkaPort, "kafka-port", 0, "port of Kafka on 127.0.0.1, 0 = a free one")
	fs.IntVar(&cfg.mongodbPort, "mongodb-port", 0, "port of MongoDB on 127.0.0.1, 0 = a free one")
	fs.IntVar(&cfg.mailPort, "mail-port", 0, "port of the mail server on 127.0.0.1, 0 = a free one")
	fs.StringVar(&cfg.data, "data", "", "directory that keeps the data; none = a temporary one, removed at the end")
	fs.BoolVar(&cfg.miniredis, "miniredis", false, "use miniredis also where redis-server is installed")
	fs.BoolVar(&cfg.exitWithStdin, "exit-with-stdin", false, "stop when standard input ends")
	if err := fs.Parse(args); err != nil {
		return config{}, err
	}
	if fs.NArg() > 0 {
		return config{}, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	cfg.engines = map[string]bool{}
	for _, name := range strings.Split(*engines, ",") {
		switch name = strings.TrimSpace(name); name {
		case "redis", "kafka", "mongodb", "mail":
			cfg.engines[name] = true
		default:
			return config{}, fmt.Errorf("unknown engine %q: redis, kafka, mongodb and mail exist", name)
		}
	}
	return cfg, nil
}

// run starts the engines, announces them on out and stops them when ctx ends. It fails when one can't
// start or ends by itself; the others are stopped then too.
func run(ctx context.Context, cfg config, out io.Writer) (err error) {
	if cfg.data == "" {
		dir, err := os.MkdirTemp("", "cartstream-embedded-")
		if err != nil {
			return fmt.Errorf("make a temporary directory: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		cfg.data = dir
	} else {
		unlock, err := claim(cfg.data)
		if err != nil {
			return err
		}
		defer unlock()
	}

	var (
		addresses Addresses
		died      = make(chan error, 4)
	)
	if cfg.engines["redis"] {
		r, err := startRedis(ctx, cfg, died)
		if err != nil {
			return fmt.Errorf("start Redis: %w", err)
		}
		defer r.stop()
		addresses.Redis, addresses.RedisServer = r.addr, r.kind
	}
	if cfg.engines["kafka"] {
		addr, stop, err := startKafka(cfg)
		if err != nil {
			return fmt.Errorf("start Kafka: %w", err)
		}
		defer stop()
		addresses.Kafka = addr
	}
	if cfg.engines["mongodb"] {
		uri, stop, err := startMongoDB(cfg, died)
		if err != nil {
			return fmt.Errorf("start MongoDB: %w", err)
		}
		defer stop()
		addresses.MongoDB = uri
	}
	if cfg.engines["mail"] {
		addr, dir, stop, err := startMail(cfg, died)
		if err != nil {
			return fmt.Errorf("start the mail server: %w", err)
		}
		defer stop()
		addresses.Mail, addresses.MailDir = addr, dir
	}

	if err := json.NewEncoder(out).Encode(addresses); err != nil {
		return fmt.Errorf("announce the addresses: %w", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-died:
		return err
	}
}
