package cart

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// What recovery needs to bring a shard up to what Kafka has, while nothing serves it. Each write names the generation under
// which the shard is being recovered, and is refused under another.

//go:embed lua/bulk.lua
var bulkScript string

//go:embed lua/bring.lua
var bringScript string

//go:embed lua/note.lua
var noteScript string

const (
	// readCarts are read by one call, and bringLines and bringCarts bound what one call writes: Redis serves nobody else meanwhile.
	readCarts, bringCarts, bringLines = 25, 100, 500
)

// keptAnswer is what a keyed request was answered, to be answered again.
type keptAnswer struct {
	hash, value string
	until       time.Time
}

// Tails returns the offset in cart.events up to which each shard holds what every record of it says, -1 for none; shards
// that don't know are left out.
func (n *Node) Tails(ctx context.Context, shards []int) (map[int]int64, error) {
	found := make([]*redis.StringCmd, len(shards))
	_, err := n.conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, shard := range shards {
			found[i] = p.Get(ctx, n.store.nodes.tail(shard))
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read what shards hold: %w", err)
	}
	tails := make(map[int]int64, len(shards))
	for i, shard := range shards {
		offset, err := found[i].Int64()
		if err == nil {
			tails[shard] = offset
		} else if !errors.Is(err, redis.Nil) {
			return nil, fmt.Errorf("read what shard %d holds: %w", shard, err)
		}
	}
	return tails, nil
}

// Records reads the carts of users whose shards are on this node, in the state in which they are.
func (n *Node) Records(ctx context.Context, users []string) (map[string]*Record, error) {
	byShard := map[int][]string{}
	for _, u := range users {
		shard := n.store.ShardOf(u)
		byShard[shard] = append(byShard[shard], u)
	}
	type question struct {
		users  []string
		answer *redis.Cmd
	}
	var asked []question
	_, err := n.conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard, all := range byShard {
			for part := range slices.Chunk(all, readCarts) {
				keys := make([]string, len(part))
				for i, u := range part {
					keys[i] = n.store.nodes.cart(shard, u)
				}
				// Not HGetAll: a map has no order, and these fields are read as a script's answer is.
				asked = append(asked, question{part, p.Eval(ctx,
					"local all = {} for i, key in ipairs(KEYS) do all[i] = redis.call('HGETALL', key) end return all", keys)})
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read carts: %w", err)
	}
	records := make(map[string]*Record, len(users))
	for _, q := range asked {
		carts, _ := q.answer.Val().([]any)
		if len(carts) != len(q.users) {
			return nil, fmt.Errorf("read carts: %d of %d were answered", len(carts), len(q.users))
		}
		for i, u := range q.users {
			fields, _ := carts[i].([]any)
			if records[u], err = readRecord(u, n.store.Currency, fields); err != nil {
				return nil, err
			}
		}
	}
	return records, nil
}

// Bring writes carts back, under their own epoch and version, with the answers and indexes that belong to them. It emits
// nothing. g and state are those of the shards; ErrOvertaken says that one had others by then: its carts, and only those,
// are as they were.
func (n *Node) Bring(ctx context.Context, g Generation, state State, records []*Record) error {
	now := time.Now()
	window := now.UnixMilli() - now.UnixMilli()%changeWindow.Milliseconds()
	byShard := map[int][]*Record{}
	for _, r := range records {
		shard := n.store.ShardOf(r.UserID)
		byShard[shard] = append(byShard[shard], r)
	}
	calls := map[*redis.Cmd]int{} // to the shard
	_, err := n.conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		for shard, all := range byShard {
			for len(all) > 0 {
				argv, carts, lines := []any{g.String() + " " + string(state), window}, 0, 0
				for carts < len(all) && carts < bringCarts && lines < bringLines {
					argv = all[carts].arguments(argv, now, n.store.idleWindow())
					lines += len(all[carts].Items) + len(all[carts].answers)
					carts++
				}
				calls[p.Eval(ctx, bulkScript+bringScript, []string{n.store.nodes.generation(shard)}, argv...)] = shard
				all = all[carts:]
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("bring carts: %w", err)
	}
	for c, shard := range calls {
		if answer, err := c.Int(); err != nil || answer != 1 {
			return errors.Join(fmt.Errorf("bring carts of shard %d: %w", shard, ErrOvertaken), err)
		}
	}
	return nil
}

// Holds notes the offsets up to which shards hold everything, -1 for none.
func (n *Node) Holds(ctx context.Context, g Generation, state State, offsets map[int]int64) error {
	return n.note(ctx, slices.Collect(maps.Keys(offsets)), g, state, func(shard int) (offset, server, refresh string) {
		return strconv.FormatInt(offsets[shard], 10), "", ""
	})
}

// Opened notes on which server the shards are opened, and asks whoever walks over carts to compare their facts with the
// catalogue: they may have lost what they knew of some books. It is called before the last Swap.
func (n *Node) Opened(ctx context.Context, g Generation, state State, shards ...int) error {
	server, err := n.Server(ctx)
	if err != nil {
		return err
	}
	return n.note(ctx, shards, g, state, func(int) (_, _, _ string) { return "", server, g.String() })
}

// note notes what is said of each shard, of which "" is left as it is.
func (n *Node) note(ctx context.Context, shards []int, g Generation, state State, of func(shard int) (offset, server, refresh string)) error {
	l := n.store.nodes
	return n.each(ctx, "note what becomes", len(shards), func(p redis.Pipeliner, i int) (int, *redis.Cmd) {
		shard := shards[i]
		keys := []string{l.generation(shard), l.tail(shard), l.server(shard), l.walks(shard)}
		offset, server, refresh := of(shard)
		return shard, p.Eval(ctx, noteScript, keys, g.String()+" "+string(state), offset, server, refresh)
	})
}

// Server returns the replication id of the server behind the connection, "" where it doesn't tell: a server that was
// promoted, or restarted, has another.
func (n *Node) Server(ctx context.Context) (string, error) {
	if n.server != "" {
		return n.server, nil
	}
	var err error
	n.server, err = serverID(ctx, n.conn)
	return n.server, err
}

// serverID asks for the replication id.
func serverID(ctx context.Context, conn redis.Cmdable) (string, error) {
	info, err := conn.Info(ctx, "replication").Result()
	var refused redis.Error
	if errors.As(err, &refused) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("ask for the replication id: %w", err)
	}
	for line := range strings.Lines(info) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "master_replid:"); ok {
			return id, nil
		}
	}
	return "", nil
}

// ReplicationIDs returns the replication id of each node that answers, by its address.
func (s *Store) ReplicationIDs(ctx context.Context) map[string]string {
	found := map[string]string{}
	for _, n := range s.Nodes(ctx) {
		if id, err := n.Server(ctx); err == nil {
			found[n.addr] = id
		}
		_ = n.Close() // it goes back to the pool or is broken
	}
	return found
}
