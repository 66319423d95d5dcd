package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"cartstream/deploy/engines/engine"
	"cartstream/deploy/engines/install"
)

// stack is the engines of one directory, which holds their data, logs and locks. At most one up or down
// works on it at a time.
type stack struct {
	cache    *install.Cache
	progress io.Writer
	dir      string
	ports    map[install.Engine]int // 0: free ones
	owned    bool                   // the engines end with this process
}

// The ports that the contract's defaults name.
var standardPorts = map[install.Engine]int{install.Redis: 6379, install.Kafka: 9092, install.MongoDB: 27017}

// up starts those of the engines that don't run yet and returns when all answer. When one can't start, the
// others that this call started are ended; those that ran before stay.
func (s *stack) up(ctx context.Context, engines []install.Engine) error {
	if err := s.cache.Ensure(ctx, engines...); err != nil {
		return err
	}
	unlock, err := s.lock(ctx, s.dir)
	if err != nil {
		return err
	}
	defer unlock()
	return s.startAll(ctx, engines)
}

func (s *stack) startAll(ctx context.Context, engines []install.Engine) error {
	known, err := readAddresses(s.dir)
	if err != nil {
		return err
	}
	var absent []install.Engine
	for _, e := range engines {
		if known[e] != "" && running(s.dir, e) {
			continue
		}
		absent = append(absent, e)
		// What an interrupted up left may be half an engine, at a place that nobody noted.
		if err := s.stop(ctx, processes[e]...); err != nil {
			return err
		}
	}

	var mu sync.Mutex
	var started []install.Engine
	start := time.Now()
	g, gctx := errgroup.WithContext(ctx)
	for _, e := range absent {
		g.Go(func() error {
			addr, err := s.start(gctx, e)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			started = append(started, e)
			known[e] = addr
			s.say("%s is ready after %.1f s: %s", e, time.Since(start).Seconds(), addr)
			return nil
		})
	}
	err = g.Wait()
	if err == nil {
		err = writeAddresses(s.dir, known)
	}
	if err != nil {
		for _, e := range started {
			err = errors.Join(err, s.stop(context.WithoutCancel(ctx), processes[e]...))
		}
	}
	return err
}

// start starts one engine and answers with its address. On an error nothing of it is left.
func (s *stack) start(ctx context.Context, e install.Engine) (string, error) {
	port, detached := s.ports[e], !s.owned
	switch e {
	case install.Redis:
		p, err := engine.StartRedis(ctx, engine.RedisOptions{Dir: s.dir, Port: port, Detached: detached})
		if err != nil {
			return "", err
		}
		return p.Addr, nil
	case install.Kafka:
		o := engine.KafkaOptions{Libs: s.cache.KafkaLibs(), Dir: s.dir, Detached: detached}
		if port != 0 {
			o.Ports = []int{port}
		}
		k, err := engine.StartKafka(ctx, o)
		if err != nil {
			return "", err
		}
		return k.Brokers(), nil
	default:
		m, err := engine.StartMongoDB(ctx, engine.MongoDBOptions{
			Root: s.cache.DocumentDB(), Template: s.cache.DocumentDBTemplate(), FerretDB: s.cache.FerretDB(),
			Dir: s.dir, Port: port, Detached: detached,
		})
		if err != nil {
			return "", err
		}
		return m.URI, nil
	}
}

// down stops everything that up started in the directory, and nothing else; volumes deletes the directory
// too. Nothing running is no error.
func (s *stack) down(ctx context.Context, volumes bool) error {
	if _, err := os.Stat(s.dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	unlock, err := s.lock(ctx, s.dir)
	if err != nil {
		return err
	}
	defer unlock()
	names, err := engine.Names(s.dir)
	if err != nil {
		return err
	}
	if err := s.stop(ctx, names...); err != nil {
		return err
	}
	if volumes {
		return os.RemoveAll(s.dir)
	}
	return nil
}

// stop ends processes all at once, and returns when none is left.
func (s *stack) stop(ctx context.Context, names ...string) error {
	var g errgroup.Group
	for _, name := range names {
		if engine.Running(s.dir, name) {
			s.say("stopping %s", name)
			g.Go(func() error { return engine.Stop(ctx, s.dir, name) })
		}
	}
	return g.Wait()
}

// lock makes the directory and keeps other calls off it until unlock or the end of this process; it waits
// for one that works on it.
func (s *stack) lock(ctx context.Context, dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the engines: %w", err)
	}
	for said := false; ; said = true {
		f, err := tryLock(dir)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock the directory of the engines: %w", err)
		}
		if !said {
			s.say("another call works on %s, waiting for it", dir)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func tryLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "busy"), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator names the directory
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func (s *stack) say(format string, args ...any) {
	_, _ = fmt.Fprintf(s.progress, "engines: "+format+"\n", args...)
}
