package cart

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"cartstream/schemas"
)

// What recovery needs of a Redis node. Nothing here may be called by anybody else: it is what opens the fence.

//go:embed lua/swap.lua
var swapScript string

//go:embed lua/lead.lua
var leadScript string

// ErrOvertaken says that another recovery changed the shard since it was looked at.
var ErrOvertaken = errors.New("overtaken by another recovery")

// callRecovery says that a shard was found that only recovery can open.
func (s *Store) callRecovery() {
	select {
	case s.unready <- struct{}{}:
	default: // somebody was told already
	}
}

// NeedsRecovery delivers when a shard was found that only recovery can open.
func (s *Store) NeedsRecovery() <-chan struct{} { return s.unready }

// Count returns how many shards this process can serve, and how many it can't.
func (s *Store) Count() (ready, recovering int) {
	for i := range s.shards {
		if s.shards[i].current.Load() != nil {
			ready++
		}
	}
	return ready, len(s.shards) - ready
}

// Node is one Redis node on one connection, so that nothing that is done through it can end up on a server that was
// restarted or promoted meanwhile: the connection breaks instead.
type Node struct {
	// Shards that the node holds, rising.
	Shards []int
	conn   *redis.Conn
	store  *Store
	addr   string
	server string // its replication id, "" until asked
}

// Nodes connects to every node. Shards whose node isn't known are left out. The caller closes each.
func (s *Store) Nodes(ctx context.Context) []*Node {
	groups := s.nodes.byNode(ctx, s.nodes.all())
	found := make([]*Node, 0, len(groups))
	for client, shards := range groups {
		slices.Sort(shards)
		found = append(found, &Node{Shards: shards, conn: client.Conn(), store: s, addr: client.Options().Addr})
	}
	return found
}

// Close gives the connection back.
func (n *Node) Close() error { return n.conn.Close() }

// Lead takes or keeps the node's recovery lease. It reports whether the instance has it.
func (n *Node) Lead(ctx context.Context, instance string, ttl time.Duration) (bool, error) {
	return n.conn.Eval(ctx, leadScript, []string{n.store.nodes.recovery(n.Shards[0])}, instance, ttl.Milliseconds()).Bool()
}

// Release ends the node's recovery lease early, where it is the instance's: one that was paused leaves it to whoever leads
// by now.
func (n *Node) Release(ctx context.Context, instance string) error {
	return n.conn.Eval(ctx, leadScript, []string{n.store.nodes.recovery(n.Shards[0])}, instance, 0).Err()
}

// Inspect returns the generation and state of each of the node's shards, and whether the server is the one that it was
// opened on and still knows the generation's scripts. Shards whose slots are on their way to another node are left out:
// they are no one's to recover until they have settled.
func (n *Node) Inspect(ctx context.Context) ([]ShardReport, error) {
	server, err := n.Server(ctx)
	if err != nil {
		return nil, err
	}
	settled := make([]ShardReport, 0, len(n.Shards))
	for _, r := range n.store.nodes.inspect(ctx, n.conn, n.Shards, server) {
		switch err := errors.Unwrap(r.Err); {
		case err == nil:
			settled = append(settled, r)
		case !slices.ContainsFunc([]string{"ASK", "MOVED", "TRYAGAIN"}, func(word string) bool { return redis.HasErrorPrefix(err, word) }):
			return nil, r.Err
		}
	}
	return settled, nil
}

// Swap moves shards, as they were inspected, to another generation and state. ErrOvertaken says that one was no longer as
// it was; others may have been moved.
func (n *Node) Swap(ctx context.Context, to Generation, will State, from ...ShardReport) error {
	return n.each(ctx, "swap the generation", len(from), func(p redis.Pipeliner, i int) (int, *redis.Cmd) {
		held := ""
		if from[i].State != Absent {
			held = from[i].Generation.String() + " " + string(from[i].State)
		}
		key := n.store.nodes.generation(from[i].Shard)
		return from[i].Shard, p.Eval(ctx, swapScript, []string{key}, held, to.String()+" "+string(will))
	})
}

// each sends a call for each of some shards, all at once, and returns an error where one doesn't answer 1, ErrOvertaken where
// it answers. what says what was to be done.
func (n *Node) each(ctx context.Context, what string, shards int, call func(p redis.Pipeliner, i int) (shard int, c *redis.Cmd)) error {
	numbers, calls := make([]int, shards), make([]*redis.Cmd, shards)
	_, _ = n.conn.Pipelined(ctx, func(p redis.Pipeliner) error { // each command has its own error
		for i := range shards {
			numbers[i], calls[i] = call(p, i)
		}
		return nil
	})
	for i, c := range calls {
		done, err := c.Int()
		if err == nil && done != 1 {
			err = ErrOvertaken
		}
		if err != nil {
			return fmt.Errorf("%s of shard %d: %w", what, numbers[i], err)
		}
	}
	return nil
}

// Load brings the generation's scripts to the node, the last step: from then on its shards are served.
func (n *Node) Load(ctx context.Context, g Generation) error {
	if err := n.store.set(g).load(ctx, n.conn); err != nil {
		return fmt.Errorf("load scripts: %w", err)
	}
	return nil
}

// shardsKey holds the number of shards. It stands outside of them, since they would be others under another number.
const shardsKey = "cartstream:shards"

// Serve says that the shards were opened under g on the server that the node's connection leads to, where Load was the last
// step: this process serves them without looking first.
func (n *Node) Serve(g Generation, shards []int) {
	if n.store.Catalogue != nil {
		n.store.Catalogue.Forget() // what was cached may be older than what this generation has seen
	}
	for _, shard := range shards {
		n.store.shards[shard].current.CompareAndSwap(nil, n.store.set(g)) // whoever looked meanwhile may have seen a later one
	}
}

// CheckShards compares the number of shards with the one that the data was written under, and writes it where there is
// none. Another number is an error that nothing but another setting can mend: ErrShards.
func (s *Store) CheckShards(ctx context.Context) error {
	want := strconv.Itoa(s.nodes.shards())
	if err := s.nodes.universal().SetNX(ctx, shardsKey, want, 0).Err(); err != nil {
		return fmt.Errorf("write the number of shards: %w", err)
	}
	return s.agree(ctx)
}

// agree returns ErrShards where the data was written under another number of shards, and another error where that can't
// be told. Once told, it isn't asked again.
func (s *Store) agree(ctx context.Context) error {
	if s.agreed.Load() {
		return nil
	}
	want := strconv.Itoa(s.nodes.shards())
	stored, err := s.nodes.universal().Get(ctx, shardsKey).Result()
	if err != nil {
		return fmt.Errorf("read the number of shards: %w", err)
	}
	if stored != want {
		return fmt.Errorf("%w: SHARDS is %s, the data was written with %s", ErrShards, want, stored)
	}
	s.agreed.Store(true)
	return nil
}

// ErrShards says that SHARDS differs from what is stored.
var ErrShards = errors.New("SHARDS differs from what is stored")

// PutBack restores carts of one lost shard, of different users, as they stand in carts, under their own epoch and version;
// an empty Cart says that the user has none. It emits nothing and leaves a cart that is there as it is. g is the generation
// under which carts were known to be the newest: under another, which may have lost what came after them, nothing is
// written, and the error is ErrOvertaken. Redis serves nobody else meanwhile, so the caller bounds how many carts and lines.
func (s *Store) PutBack(ctx context.Context, g Generation, carts ...schemas.Cart) error {
	if len(carts) == 0 {
		return nil
	}
	shard := s.nodes.shardOf(carts[0].UserID)
	argv, window := []any{g.String()}, s.idleWindow()
	for _, c := range carts {
		argv = restored(argv, c, window)
	}
	_, answer, err := s.run(ctx, shard, scriptRestore, []string{s.nodes.generation(shard)}, argv...)
	if err == nil && answer != "ok" {
		err = ErrOvertaken
	}
	if err != nil {
		return fmt.Errorf("put back %d carts, the first %s's: %w", len(carts), carts[0].UserID, err)
	}
	return nil
}

// ShardOf returns the shard that holds a user's cart.
func (s *Store) ShardOf(user string) int { return s.nodes.shardOf(user) }
