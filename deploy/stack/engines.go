package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"cartstream/deploy/launch"
	"cartstream/schemas/env"
)

// engine is one of the three that cartstream stands on.
type engine struct {
	name     string // for people
	service  string // in docker-compose.yml and for the embedded engines
	variable string // where the environment names it
	port     int    // where one that up starts listens
	portName string // what docker-compose.yml calls that port
}

var engines = []engine{
	{name: "Redis", service: "redis", variable: "REDIS_ADDRS", port: 6379, portName: "REDIS_PORT"},
	{name: "Kafka", service: "kafka", variable: "KAFKA_BROKERS", port: 9092, portName: "KAFKA_PORT"},
	{name: "MongoDB", service: "mongodb", variable: "MONGODB_URI", port: 27017, portName: "MONGODB_PORT"},
}

func (e engine) address(port int) string {
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	if e.variable == "MONGODB_URI" {
		return "mongodb://" + addr + "/cartstream"
	}
	return addr
}

// checkEngines fails with one sentence when the environment names an engine wrongly or one that isn't there.
func (s *stack) checkEngines(ctx context.Context) error {
	var cfg struct {
		Redis   env.Redis
		Kafka   env.Kafka
		MongoDB env.MongoDB
	}
	if err := env.Parse(&cfg); err != nil {
		return err
	}
	redis, err := cfg.Redis.Options()
	if err != nil {
		return err
	}
	mongodb, err := connstring.Parse(string(cfg.MongoDB.URI))
	if err != nil {
		return errors.New("MONGODB_URI can't be read")
	}
	addrs := map[string][]string{"REDIS_ADDRS": redis.Addrs, "KAFKA_BROKERS": cfg.Kafka.Brokers, "MONGODB_URI": mongodb.Hosts}
	for _, e := range engines {
		if s.environ[e.variable] == "" {
			continue
		}
		if err := anyAnswers(ctx, addrs[e.variable]); err != nil {
			return fmt.Errorf("%s, which %s names, can't be reached: %w", e.name, e.variable, err)
		}
	}
	return nil
}

// anyAnswers returns the last error when nothing listens on any of the addresses.
func anyAnswers(ctx context.Context, addrs []string) error {
	var last error
	for _, addr := range addrs {
		dialer := net.Dialer{Timeout: 3 * time.Second}
		conn, err := dialer.DialContext(ctx, "tcp", strings.TrimSpace(addr))
		if err == nil {
			return conn.Close()
		}
		last = err
	}
	return last
}

// startEngines starts those engines that the environment does not name and adds their addresses to r.
func (s *stack) startEngines(ctx context.Context, r *running, freePorts, embedded bool) error {
	var missing []engine
	for _, e := range engines {
		if given := s.environ[e.variable]; given != "" {
			r.Env[e.variable], r.Notes[e.variable] = given, "yours"
			continue
		}
		missing = append(missing, e)
	}
	if len(missing) == 0 {
		return nil
	}
	if !embedded {
		if compose := dockerCompose(ctx); compose != nil {
			return s.startDocker(ctx, r, compose, missing, freePorts)
		}
	}
	return s.startEmbedded(ctx, r, missing, freePorts)
}

func (s *stack) startEmbedded(ctx context.Context, r *running, missing []engine, freePorts bool) error {
	r.Engines = "embedded"
	o := launch.Options{Data: s.path("data"), Detached: true}
	for _, e := range missing {
		port := e.port
		if freePorts {
			port = 0
		} else if err := portFree(ctx, fmt.Sprintf("127.0.0.1:%d", port)); errors.Is(err, errTaken) {
			return fmt.Errorf("%w, but %s should get it: free it, name a %s that runs in %s, or run task up -- --free-ports",
				err, e.name, e.name, e.variable)
		} else if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		switch e.service {
		case "redis":
			o.Redis, o.RedisPort = true, port
		case "kafka":
			o.Kafka, o.KafkaPort = true, port
		case "mongodb":
			o.MongoDB, o.MongoDBPort = true, port
		}
	}
	if s.catchesMail() {
		if err := embeddedMail(ctx, &o, freePorts); err != nil {
			return err
		}
	}
	log, err := s.openLog("engines")
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	o.Log = log
	var started *launch.Engines
	err = s.track("engines", func(held *os.File) (int, error) {
		o.Hold = held
		if started, err = launch.Start(ctx, o); err != nil {
			return 0, err
		}
		return started.Pid(), nil
	})
	if err != nil {
		return err
	}
	found := map[string]struct{ addr, note string }{
		"redis":   {started.Redis, "embedded: " + started.RedisServer},
		"kafka":   {started.Kafka, "embedded: kfake"},
		"mongodb": {started.MongoDB, "embedded: FerretDB on SQLite"},
	}
	for _, e := range missing {
		r.Env[e.variable], r.Notes[e.variable] = found[e.service].addr, found[e.service].note
	}
	if o.Mail {
		caught(r, started.Mail, started.MailDir)
	}
	if started.RedisServer == "miniredis" {
		r.Notes["REDIS_ADDRS"] += ", whose carts come back from MongoDB after a restart; install redis-server to keep them in Redis"
	}
	return nil
}

// masked shows an address without its password.
func masked(addr string) string {
	if u, err := url.Parse(addr); err == nil && u.User != nil {
		return u.Redacted()
	}
	return addr
}
