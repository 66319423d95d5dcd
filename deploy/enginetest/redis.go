package enginetest

import (
	"context"
	"testing"

	"cartstream/deploy/engines/engine"
)

// RealRedis is a redis-server of the test's own, durable as in production (AOF everysec, noeviction); the
// extra arguments come last and win. Its data survives Stop and Kill. The test fails where no redis-server
// is installed, so only tests with the build tag engines may ask for one.
func RealRedis(t testing.TB, args ...string) *Server {
	t.Helper()
	p, err := engine.StartRedis(context.Background(), engine.RedisOptions{Dir: t.TempDir(), Args: args})
	must(t, err)
	return serverOf(t, p)
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
	nodes, err := engine.StartRedisCluster(context.Background(), t.TempDir(), 3, nil)
	must(t, err)
	var servers []*Server
	for _, p := range nodes {
		servers = append(servers, serverOf(t, p))
	}
	return servers
}

func serverOf(t testing.TB, p *engine.Process) *Server {
	s := &Server{Addr: p.Addr, t: t, running: real{p}}
	s.start = func() (process, error) { return real{p}, p.Start(context.Background()) }
	t.Cleanup(s.Kill)
	return s
}

// real is a process of package engine as a Server needs it.
type real struct{ *engine.Process }

func (r real) Stop() { _ = r.Process.Stop(context.Background()); <-r.Ended() }

func (r real) Kill() { _ = r.Process.Kill(); <-r.Ended() }
