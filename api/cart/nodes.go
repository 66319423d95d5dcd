package cart

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// nodes are the Redis servers that hold the shards: one server, the master that Sentinels name, or a cluster.
type nodes struct {
	layout
	single  *redis.Client        // nil in a cluster
	cluster *redis.ClusterClient // nil but in a cluster
}

// openNodes never waits for a server.
func openNodes(o *redis.UniversalOptions, l layout) *nodes {
	switch {
	case o.IsClusterMode:
		return &nodes{layout: l, cluster: redis.NewClusterClient(o.Cluster())}
	case o.MasterName != "":
		return &nodes{layout: l, single: redis.NewFailoverClient(o.Failover())}
	default:
		return &nodes{layout: l, single: redis.NewClient(o.Simple())}
	}
}

// universal returns the client for commands that may go to whichever node holds their key.
func (n *nodes) universal() redis.UniversalClient {
	if n.single != nil {
		return n.single
	}
	return n.cluster
}

// node returns the client of the server that holds the shard now. Nothing that goes through it is ever sent twice.
func (n *nodes) node(ctx context.Context, shard int) (*redis.Client, error) {
	if n.single != nil {
		return n.single, nil
	}
	client, err := n.cluster.MasterForKey(ctx, n.generation(shard))
	if err != nil {
		return nil, fmt.Errorf("find the master of shard %d: %w", shard, err)
	}
	return client, nil
}

// each calls do with the client of every server that is known, one after the other.
func (n *nodes) each(ctx context.Context, do func(*redis.Client)) {
	if n.single != nil {
		do(n.single)
		return
	}
	var one sync.Mutex
	_ = n.cluster.ForEachMaster(ctx, func(_ context.Context, c *redis.Client) error { // what isn't known can't be asked
		one.Lock()
		defer one.Unlock()
		do(c)
		return nil
	})
}

// byNode groups shards by the server that holds them, leaving out those whose server isn't known.
func (n *nodes) byNode(ctx context.Context, shards []int) map[*redis.Client][]int {
	groups := map[*redis.Client][]int{}
	for _, shard := range shards {
		if client, err := n.node(ctx, shard); err == nil {
			groups[client] = append(groups[client], shard)
		}
	}
	return groups
}

// moved takes note of a redirection and reports whether err was one. The command was not executed then, so it may be
// sent again, to the node that holds the slot now.
func (n *nodes) moved(ctx context.Context, err error) bool {
	if n.cluster == nil || err == nil {
		return false
	}
	if s := err.Error(); strings.HasPrefix(s, "MOVED ") {
		n.cluster.ReloadState(ctx)
		return true
	}
	return false
}

func (n *nodes) close() error { return n.universal().Close() }

// Ping asks every Redis node whether it is there. An error means that none is. notice is a sentence about nodes that
// don't answer, or that answer but aren't set up to keep carts: what they hold is the truth, so it must outlive a restart
// and never be evicted.
func (s *Store) Ping(ctx context.Context) (notice string, err error) {
	defer func() {
		if err == nil && s.full.count.Load() > 0 {
			notice = "memory is nearly full: changes are refused"
		}
	}()
	if s.nodes.single != nil {
		return durability(ctx, s.nodes.single)
	}
	var (
		mu       sync.Mutex
		answered int
		failed   []error
	)
	err = s.nodes.cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error {
		found, err := durability(ctx, c)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed = append(failed, err)
			return nil // the others are still asked
		}
		answered++
		if found != "" {
			notice = found
		}
		return nil
	})
	if answered == 0 {
		return "", errors.Join(append(failed, err)...)
	}
	if len(failed) > 0 {
		notice = fmt.Sprintf("%d of %d masters don't answer", len(failed), len(failed)+answered)
	}
	return notice, nil
}

// durability asks one node, and how it keeps what it is given.
func durability(ctx context.Context, c *redis.Client) (notice string, err error) {
	if err := c.Ping(ctx).Err(); err != nil {
		return "", fmt.Errorf("ping redis: %w", err)
	}
	for setting, n := range map[string]struct{ wanted, otherwise string }{
		"appendonly":       {"yes", "appendonly is off: a restart of Redis loses carts"},
		"maxmemory-policy": {"noeviction", "maxmemory-policy is not noeviction: Redis may throw carts away"},
	} {
		// Where CONFIG is forbidden, as managed services do, nothing is known and nothing said.
		if found, err := c.ConfigGet(ctx, setting).Result(); err == nil && found[setting] != n.wanted && len(found) > 0 {
			notice = n.otherwise
		}
	}
	return notice, nil
}
