package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
)

type redis struct {
	addr string
	kind string // redis-server or miniredis
	stop func()
}

// startRedis runs redis-server where one is installed, else miniredis. The first keeps its data over
// a restart (AOF, at most a second is lost), the second never does.
func startRedis(ctx context.Context, cfg config, died chan<- error) (redis, error) {
	if !cfg.miniredis {
		if path, err := exec.LookPath("redis-server"); err == nil {
			return startRedisServer(ctx, path, cfg, died)
		}
	}
	return startMiniredis(cfg)
}

func startMiniredis(cfg config) (redis, error) {
	m := miniredis.NewMiniRedis()
	if err := m.StartAddr(net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.redisPort))); err != nil {
		return redis{}, err
	}
	// miniredis only lets keys expire when its clock is moved by hand.
	ticker := time.NewTicker(expiryTick)
	done := make(chan struct{})
	go func() {
		last := time.Now()
		for {
			select {
			case now := <-ticker.C:
				m.FastForward(now.Sub(last))
				last = now
			case <-done:
				return
			}
		}
	}()
	return redis{addr: m.Addr(), kind: "miniredis", stop: func() {
		ticker.Stop()
		close(done)
		m.Close()
	}}, nil
}

// expiryTick is how exactly miniredis keeps a TTL.
const expiryTick = 100 * time.Millisecond

// startRedisServer runs it as a child that the kernel ends together with this process (Linux).
func startRedisServer(ctx context.Context, path string, cfg config, died chan<- error) (redis, error) {
	dir := filepath.Join(cfg.data, "redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return redis{}, err
	}
	port := cfg.redisPort
	if port == 0 {
		var err error
		if port, err = freePort(); err != nil {
			return redis{}, err
		}
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if err := mustBeFree(addr); err != nil {
		return redis{}, err
	}
	logFile := filepath.Join(dir, "redis.log")
	cmd := exec.Command(path, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, //nolint:noctx,gosec // ended by stop, which lets it write its AOF first; found in PATH
		"--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
		"--save", "", "--logfile", logFile, "--daemonize", "no")
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return redis{}, err
	}
	exited := make(chan struct{})
	go func() {
		err := cmd.Wait()
		close(exited)
		died <- fmt.Errorf("redis-server ended (%w); its log: %s", errors.Join(err, errors.New("unexpectedly")), logFile)
	}()
	stop := func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-exited
		}
	}
	if err := awaitPong(ctx, addr, exited); err != nil {
		stop()
		return redis{}, fmt.Errorf("%w; its log: %s", err, logFile)
	}
	return redis{addr: addr, kind: "redis-server", stop: stop}, nil
}

// awaitPong returns once the server has loaded its data and serves commands.
func awaitPong(ctx context.Context, addr string, exited <-chan struct{}) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if pong(ctx, addr) {
			return nil
		}
		select {
		case <-tick.C:
		case <-exited:
			return errors.New("redis-server ended while starting")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func pong(ctx context.Context, addr string) bool {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "+PONG")
}

// mustBeFree tells a taken port apart from a redis-server that fails for another reason.
func mustBeFree(addr string) error {
	l, err := net.Listen("tcp", addr) //nolint:noctx // binds a local port, never blocks
	if err != nil {
		return err
	}
	return l.Close()
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // binds a local port, never blocks
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}
