package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// RedisOptions describe one redis-server.
type RedisOptions struct {
	Name      string   // default redis
	Dir       string   // log and lock; the data is in a folder of it named after the server
	Port      int      // 0: a free one
	ReplicaOf string   // host:port of a master; ready means that the first sync is done
	Detached  bool     // outlives this process
	Args      []string // further options as on redis-server's command line; they win
}

// StartRedis starts a redis-server that is as durable as production's: AOF with everysec, noeviction.
func StartRedis(ctx context.Context, o RedisOptions) (*Process, error) {
	if o.Name == "" {
		o.Name = "redis"
	}
	server, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("redis-server is not installed")
	}
	port, err := portOr(o.Port)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(o.Dir, o.Name)
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Name, err)
	}
	args := []string{server, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", data,
		"--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction",
		"--repl-diskless-sync-delay", "0"} // a replica of a test need not wait 5 s for others to join its sync
	if o.ReplicaOf != "" {
		host, masterPort, err := net.SplitHostPort(o.ReplicaOf)
		if err != nil {
			return nil, fmt.Errorf("start %s: %w", o.Name, err)
		}
		args = append(args, "--replicaof", host+" "+masterPort)
	}
	p := &Process{
		Name: o.Name, Addr: address(port), dir: o.Dir, detached: o.Detached,
		args:  append(args, o.Args...),
		ready: redisReady(address(port), o.ReplicaOf != ""),
	}
	return p, p.Start(ctx)
}

func redisReady(addr string, replica bool) func(context.Context) error {
	return func(ctx context.Context) error {
		c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
		defer c.Close() //nolint:errcheck // only a connection
		if err := c.Ping(ctx).Err(); err != nil || !replica {
			return err
		}
		info, err := c.Info(ctx, "replication").Result()
		if err != nil {
			return err
		}
		if !strings.Contains(info, "master_link_status:up") {
			return errors.New("its first sync with the master is not done")
		}
		return nil
	}
}

// StartRedisCluster starts masters redis-servers in dir, at least 3, and joins them into one cluster that
// serves all slots. Started again in the same dir on the same ports, it is the same cluster with its data.
// ports may be nil: free ones.
func StartRedisCluster(ctx context.Context, dir string, masters int, ports []int) ([]*Process, error) {
	if ports == nil {
		var err error
		if ports, err = FreePorts(2 * masters); err != nil {
			return nil, err
		}
	}
	if len(ports) != 2*masters {
		return nil, fmt.Errorf("a cluster of %d masters needs %d ports, two each", masters, 2*masters)
	}
	var nodes []*Process
	fail := func(err error) ([]*Process, error) {
		for _, n := range nodes {
			_ = n.Kill()
		}
		return nil, err
	}
	known := false
	for i := range masters {
		name := "redis-" + strconv.Itoa(i+1)
		if _, err := os.Stat(filepath.Join(dir, name, "nodes.conf")); err == nil {
			known = true
		}
		node, err := StartRedis(ctx, RedisOptions{Name: name, Dir: dir, Port: ports[2*i], Args: []string{
			"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(ports[2*i+1]), "--cluster-node-timeout", "3000"}})
		if err != nil {
			return fail(err)
		}
		nodes = append(nodes, node)
	}
	if !known {
		if err := createCluster(ctx, nodes); err != nil {
			return fail(err)
		}
	}
	for _, n := range nodes {
		if err := until(ctx, func() error { return clusterReady(ctx, n.Addr) }); err != nil {
			return fail(fmt.Errorf("the cluster's node %s: %w", n.Addr, err))
		}
	}
	return nodes, nil
}

func createCluster(ctx context.Context, nodes []*Process) error {
	args := []string{"--cluster", "create"}
	for _, n := range nodes {
		args = append(args, n.Addr)
	}
	out, err := exec.CommandContext(ctx, "redis-cli", append(args, "--cluster-yes")...).CombinedOutput() //nolint:gosec // addresses of ours
	if err != nil {
		return fmt.Errorf("join the Redis cluster: %w: %s", err, out)
	}
	return nil
}

func clusterReady(ctx context.Context, addr string) error {
	c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	defer c.Close() //nolint:errcheck // only a connection
	info, err := c.ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	if !slices.Contains(strings.Fields(info), "cluster_state:ok") {
		return errors.New("it does not serve all slots yet")
	}
	return nil
}
