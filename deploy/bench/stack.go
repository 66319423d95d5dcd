package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/errgroup"

	"cartstream/deploy/engines/engine"
	"cartstream/deploy/launch/scratch"
)

const secret = "a secret of thirty-two characters"

// stack is the product on engines of its own.
type stack struct {
	dir            string
	redis          *engine.Process
	kafka          *engine.Kafka
	mongodb        *engine.MongoDB
	api, consumers *process
	pprof          string // of api
	consumersPprof string
	env            []string // of every program
	processes      []*process
	scratch        *scratch.Dir
}

// start brings up real engines, as durable as in production, one api and, where any are named, consumers.
func (b *bench) start(ctx context.Context, consumers ...string) (_ *stack, err error) {
	s := &stack{scratch: b.scratch}
	if s.dir, err = b.scratch.Sub("stack"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	began := time.Now()
	if err := s.engines(ctx); err != nil {
		return nil, err
	}
	s.env = []string{
		"REDIS_ADDRS=" + s.redis.Addr, "KAFKA_BROKERS=" + s.kafka.Brokers(), "MONGODB_URI=" + s.mongodb.URI,
		"JWT_SECRET=" + secret, "LOG_FORMAT=text",
		"RATE_LIMIT=1000000", // on, but never reached
	}
	s.env = append(s.env, b.env...)
	if s.api, s.pprof, err = s.serve(ctx, "api", "HTTP_ADDR", "PPROF_ADDR"); err != nil {
		return nil, err
	}
	b.say("profile: go tool pprof http://%s/debug/pprof/profile?seconds=10", s.pprof)
	if len(consumers) > 0 {
		if consumers[0] == everyConsumer {
			consumers = nil
		}
		if s.consumers, s.consumersPprof, err = s.serve(ctx, "consumers", "OPS_ADDR", "CONSUMERS_PPROF_ADDR", consumers...); err != nil {
			return nil, err
		}
		b.say("consumers: go tool pprof http://%s/debug/pprof/profile?seconds=10", s.consumersPprof)
	}
	for _, p := range s.processes {
		if err := p.ready(ctx); err != nil {
			return nil, err
		}
	}
	b.say("engines, api%s are ready after %.1f s", map[bool]string{true: ", consumers"}[s.consumers != nil], time.Since(began).Seconds())
	return s, nil
}

// everyConsumer starts all that there are.
const everyConsumer = "all"

// serve starts the api or the consumers on free ports: what it serves and its pprof.
func (s *stack) serve(ctx context.Context, name, addrEnv, pprofEnv string, args ...string) (_ *process, pprof string, err error) {
	ports, err := engine.FreePorts(2)
	if err != nil {
		return nil, "", err
	}
	addr, pprof := "127.0.0.1:"+strconv.Itoa(ports[0]), "127.0.0.1:"+strconv.Itoa(ports[1])
	env := append(slices.Clone(s.env), addrEnv+"="+addr, pprofEnv+"="+pprof)
	p, err := s.launch(ctx, name, addr, env, args...)
	return p, pprof, err
}

// bare starts the bare handlers; calls is what the one that adds repeats, "" where nobody adds by it.
func (s *stack) bare(ctx context.Context, calls string) (*process, error) {
	ports, err := engine.FreePorts(1)
	if err != nil {
		return nil, err
	}
	addr := "127.0.0.1:" + strconv.Itoa(ports[0])
	p, err := s.launch(ctx, "baseline", addr, nil, "-addr", addr, "-redis", s.redis.Addr, "-calls", calls)
	if err != nil {
		return nil, err
	}
	return p, p.listening(ctx)
}

// holdRelay freezes Kafka: the relay's readers fill their memory once and then wait.
func (s *stack) holdRelay() error {
	for _, node := range s.kafka.Nodes {
		if err := freeze(node.Pid()); err != nil {
			return fmt.Errorf("freeze Kafka: %w", err)
		}
	}
	return nil
}

func (s *stack) engines(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		// A rewrite of the append-only file would fall into one side's turn.
		s.redis, err = engine.StartRedis(ctx, engine.RedisOptions{Dir: s.dir, Args: []string{"--auto-aof-rewrite-percentage", "0"}})
		return err
	})
	g.Go(func() (err error) {
		s.kafka, err = engine.StartKafka(ctx, engine.KafkaOptions{Libs: s.scratch.Cache.KafkaLibs(), Dir: s.dir})
		return err
	})
	g.Go(func() (err error) {
		c := s.scratch.Cache
		s.mongodb, err = engine.StartMongoDB(ctx, engine.MongoDBOptions{
			Root: c.DocumentDB(), Template: c.DocumentDBTemplate(), FerretDB: c.FerretDB(), Dir: s.dir})
		return err
	})
	return g.Wait()
}

// launch starts one of the programs.
func (s *stack) launch(ctx context.Context, name, addr string, env []string, args ...string) (*process, error) {
	p, err := launch(ctx, s.dir, s.scratch.Program(name), addr, env, args...)
	if err == nil {
		s.processes = append(s.processes, p)
	}
	return p, err
}

// close ends everything; the data goes with the scratch directory.
func (s *stack) close() error {
	for _, p := range s.processes {
		p.kill()
	}
	return scratch.KillAll(s.dir)
}

// The books and users that every benchmark changes carts with.
const books = 20

func bookID(i int) string { return fmt.Sprintf("book-%02d", i) }

func userID(i int) string { return fmt.Sprintf("user-%04d", i) }

// createBooks fills the catalogue with books that differ in nothing but their ids.
func (s *stack) createBooks(ctx context.Context) error { return s.createBooksUpTo(ctx, books) }

func (s *stack) createBooksUpTo(ctx context.Context, books int) error {
	boss, err := sign("boss", "admin")
	if err != nil {
		return err
	}
	for i := range books {
		body, err := json.Marshal(map[string]any{"bookId": bookID(i), "title": "The Pickwick Papers", "author": "Charles Dickens", "unitPrice": 1299, "stock": 5})
		if err != nil {
			return err
		}
		if _, err := request(ctx, http.MethodPost, "http://"+s.api.addr+"/v1/books", boss, string(body)); err != nil {
			return err
		}
	}
	return nil
}

// sign makes a token.
func sign(user, role string) (string, error) {
	now := time.Now()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": user, "role": role, "iat": now.Unix(), "exp": now.Add(24 * time.Hour).Unix(),
	}).SignedString([]byte(secret))
}

// request makes a call whose cost doesn't matter. An answer that isn't 2xx is an error.
func request(ctx context.Context, method, url, token, body string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewBufferString(body))
	if err != nil {
		return nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %d %.300s", method, url, resp.StatusCode, text)
	}
	return text, err
}
