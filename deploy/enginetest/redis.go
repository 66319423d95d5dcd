package enginetest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// RealRedis is a redis-server of the test's own, durable as in production (AOF everysec, noeviction); the
// extra arguments come last. Its data directory survives Stop and Kill. The test fails where no
// redis-server is installed, so only tests with the build tag engines may ask for one.
func RealRedis(t testing.TB, args ...string) *Server {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("no redis-server in PATH: install it, or run the tests without -tags engines")
	}
	dir, port := t.TempDir(), freePort(t)
	s := &Server{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), t: t}
	args = append([]string{
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction",
		"--logfile", filepath.Join(dir, "redis.log"),
	}, args...)
	s.start = func() (process, error) { return startRedisServer(path, args, s.Addr, dir) }
	s.Start()
	t.Cleanup(s.Kill)
	return s
}

// RedisCluster returns the addresses of three empty masters that share all slots, without replicas, each
// a redis-server; see RealRedis.
func RedisCluster(t testing.TB) []string {
	t.Helper()
	var addrs []string
	for _, s := range RedisClusterServers(t) {
		addrs = append(addrs, s.Addr)
	}
	return addrs
}

// RedisClusterServers is RedisCluster for tests that take masters away.
func RedisClusterServers(t testing.TB) []*Server {
	t.Helper()
	const masters = 3
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	servers := make([]*Server, masters)
	clients := make([]*redis.Client, masters)
	for i := range servers {
		bus := freePort(t)
		servers[i] = RealRedis(t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus),
			"--cluster-node-timeout", "2000", "--cluster-config-file", "nodes.conf")
		clients[i] = redis.NewClient(&redis.Options{Addr: servers[i].Addr})
		defer func() { _ = clients[i].Close() }()

		first, last := i*16384/masters, (i+1)*16384/masters-1
		must(t, clients[i].ClusterAddSlotsRange(ctx, first, last).Err())
		must(t, clients[i].Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		if i > 0 {
			must(t, clients[i].Do(ctx, "CLUSTER", "MEET", "127.0.0.1", portOf(t, servers[0].Addr), busOf(t, ctx, clients[0])).Err())
		}
	}
	for _, c := range clients {
		await(ctx, t, "the cluster agrees on its slots", func() bool {
			shards, err := c.ClusterShards(ctx).Result()
			if err != nil || len(shards) != masters {
				return false
			}
			info, err := c.ClusterInfo(ctx).Result()
			return err == nil && len(info) > 16 && info[:16] == "cluster_state:ok"
		})
	}
	return servers
}

// busOf asks a node for the port that the other nodes talk to.
func busOf(t testing.TB, ctx context.Context, c *redis.Client) int { //nolint:revive // t comes first in tests
	t.Helper()
	got, err := c.ConfigGet(ctx, "cluster-port").Result()
	must(t, err)
	port, err := strconv.Atoi(got["cluster-port"])
	must(t, err)
	return port
}

type redisServer struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

func startRedisServer(path string, args []string, addr, dir string) (process, error) {
	cmd := exec.Command(path, args...) //nolint:noctx,gosec // ended by Stop or Kill; the arguments are ours
	cmd.SysProcAttr = dieWithParent()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r := &redisServer{cmd: cmd, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(r.exited)
	}()
	c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	defer func() { _ = c.Close() }()
	deadline := time.Now().Add(30 * time.Second)
	for c.Ping(context.Background()).Err() != nil {
		select {
		case <-r.exited:
			log, _ := os.ReadFile(filepath.Join(dir, "redis.log")) //nolint:gosec // the test's own directory
			return nil, fmt.Errorf("redis-server ended while starting: %s", log)
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			r.Kill()
			return nil, fmt.Errorf("redis-server at %s doesn't answer", addr)
		}
	}
	return r, nil
}

func (r *redisServer) Stop() { _ = r.Signal(syscall.SIGTERM); <-r.exited }

func (r *redisServer) Kill() { _ = r.Signal(syscall.SIGKILL); <-r.exited }

func (r *redisServer) Signal(sig syscall.Signal) error { return r.cmd.Process.Signal(sig) }

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // binds a local port, never blocks
	must(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// await polls until the claim holds and fails the test when ctx ends first.
func await(ctx context.Context, t testing.TB, claim string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("it never became true that %s", claim)
		}
	}
}
