package cart

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"cartstream/schemas"
)

// What an operator may look at. Nothing here changes anything, waits for a shard to be served, or costs Redis more than a
// few plain reads a shard, in a pipeline a node.

var errNoAnswer = errors.New("no answer")

// OutboxReport is what waits in a shard's outbox.
type OutboxReport struct {
	Shard int
	// Pending is how many entries Kafka isn't known to have.
	Pending int64
	// Oldest is when the first of them occurred; the zero time where there is none, or where it can't be read.
	Oldest time.Time
	// Owner is the instance that relays the shard, "" where none does.
	Owner string
	// Err, where set, is why the shard could not be asked; nothing else is known then.
	Err error
}

// Outboxes reports on every shard's outbox, in order of shards. Those whose node is silent hold up no others, and have an
// error.
func (s *Store) Outboxes(ctx context.Context) []OutboxReport {
	reports := make([]OutboxReport, s.nodes.shards())
	for shard := range reports {
		reports[shard] = OutboxReport{Shard: shard, Err: fmt.Errorf("outbox of shard %d: %w", shard, errNoAnswer)}
	}
	s.eachNode(ctx, func(client *redis.Client, shards []int) {
		length := make([]*redis.IntCmd, len(shards))
		owner := make([]*redis.StringCmd, len(shards))
		first := make([]*redis.XMessageSliceCmd, len(shards))
		_, _ = client.Pipelined(ctx, func(p redis.Pipeliner) error { // each command has its own error
			for i, shard := range shards {
				length[i] = p.XLen(ctx, s.nodes.outbox(shard))
				owner[i] = p.Get(ctx, s.nodes.lease(shard))
				first[i] = p.XRangeN(ctx, s.nodes.outbox(shard), "-", "+", 1)
			}
			return nil
		})
		for i, shard := range shards {
			reports[shard] = s.outboxReport(shard, length[i], owner[i], first[i])
		}
	})
	return reports
}

func (s *Store) outboxReport(shard int, length *redis.IntCmd, owner *redis.StringCmd, first *redis.XMessageSliceCmd) OutboxReport {
	r := OutboxReport{Shard: shard, Pending: length.Val()}
	held := owner.Err()
	if errors.Is(held, redis.Nil) {
		held = nil
	}
	if err := errors.Join(length.Err(), held, first.Err()); err != nil {
		return OutboxReport{Shard: shard, Err: fmt.Errorf("outbox of shard %d: %w", shard, err)}
	}
	r.Owner, _, _ = strings.Cut(owner.Val(), " ")
	for _, m := range first.Val() {
		e := streamEntry{id: []byte(m.ID)}
		for kind, value := range m.Values {
			e.kind, e.value = []byte(kind), fmt.Append(nil, value)
		}
		entries, _ := entriesOf([]streamEntry{e}, s.Currency) // one that can't be read has no time
		if len(entries) == 0 {
			continue
		}
		for _, h := range entries[0].Headers {
			if h.Key == schemas.HeaderTime {
				r.Oldest, _ = time.Parse(time.RFC3339Nano, h.Value)
			}
		}
	}
	return r
}

// ShardReport is a shard's generation as its server has it.
type ShardReport struct {
	Shard      int
	Generation Generation
	State      State
	// Known says that the server is the one that the shard was opened on, and knows the generation's scripts. One that was
	// restarted or promoted waits for recovery, whatever State says.
	Known bool
	// Restored is how many carts were brought back from MongoDB since the shard, having lost them, has this generation.
	// Only Generations tells.
	Restored int64
	// Err, where set, is why the shard could not be asked; nothing else is known then.
	Err error
}

// inspect reads the generations of shards, and whether the server behind c, whose replication id is given where it tells,
// is the one that they were opened on and still knows their markers. A server that was a master before and is one again
// still knows scripts, but not what happened in between.
func (l layout) inspect(ctx context.Context, c redis.Cmdable, shards []int, server string) []ShardReport {
	held := make([]*redis.SliceCmd, len(shards))
	_, _ = c.Pipelined(ctx, func(p redis.Pipeliner) error { // each command has its own error
		for i, shard := range shards {
			held[i] = p.MGet(ctx, l.generation(shard), l.server(shard))
		}
		return nil
	})
	reports, markers := make([]ShardReport, len(shards)), map[Generation]*redis.BoolSliceCmd{}
	for i, shard := range shards {
		r := ShardReport{Shard: shard}
		values, err := held[i].Result()
		if err == nil {
			value, _ := values[0].(string)
			r.Generation, r.State, err = readGeneration(value)
		}
		if err != nil {
			r = ShardReport{Shard: shard, Err: fmt.Errorf("generation of shard %d: %w", shard, err)}
		} else if opened, _ := values[1].(string); r.State != Absent && (opened == "" || server == "" || opened == server) {
			r.Known, markers[r.Generation] = true, nil
		}
		reports[i] = r
	}
	if len(markers) == 0 {
		return reports
	}
	_, _ = c.Pipelined(ctx, func(p redis.Pipeliner) error { // see above
		for g := range markers {
			markers[g] = p.ScriptExists(ctx, sha(markerOf(g)))
		}
		return nil
	})
	for i, r := range reports {
		if !r.Known {
			continue
		}
		known, err := markers[r.Generation].Result()
		if err != nil {
			reports[i] = ShardReport{Shard: r.Shard, Err: fmt.Errorf("scripts of shard %d: %w", r.Shard, err)}
			continue
		}
		reports[i].Known = known[0]
	}
	return reports
}

// Restored notes how many carts of the shard were brought back under the generation so far, for operators alone.
func (n *Node) Restored(ctx context.Context, shard int, g Generation, carts int64) error {
	if err := n.conn.Set(ctx, n.store.nodes.restored(shard), g.String()+" "+strconv.FormatInt(carts, 10), 0).Err(); err != nil {
		return fmt.Errorf("note how many carts of shard %d are back: %w", shard, err)
	}
	return nil
}

// Generations reports on every shard, in order. Those whose node is silent hold up no others, and have an error.
func (s *Store) Generations(ctx context.Context) []ShardReport {
	reports := make([]ShardReport, s.nodes.shards())
	for shard := range reports {
		reports[shard] = ShardReport{Shard: shard, Err: fmt.Errorf("generation of shard %d: %w", shard, errNoAnswer)}
	}
	s.eachNode(ctx, func(client *redis.Client, shards []int) {
		server, err := serverID(ctx, client)
		if err != nil {
			return
		}
		back := make([]*redis.StringCmd, len(shards))
		_, _ = client.Pipelined(ctx, func(p redis.Pipeliner) error { // each command has its own error
			for i, shard := range shards {
				back[i] = p.Get(ctx, s.nodes.restored(shard))
			}
			return nil
		})
		for i, r := range s.nodes.inspect(ctx, client, shards, server) {
			if of, n, _ := strings.Cut(back[i].Val(), " "); r.State != Absent && of == r.Generation.String() {
				r.Restored, _ = strconv.ParseInt(n, 10, 64) // only a number was written
			}
			reports[r.Shard] = r
		}
	})
	return reports
}

// eachNode calls ask for each node and the shards that it holds, all nodes at once, and returns when all have. No two
// calls have a shard in common.
func (s *Store) eachNode(ctx context.Context, ask func(*redis.Client, []int)) {
	var nodes sync.WaitGroup
	for client, shards := range s.nodes.byNode(ctx, s.nodes.all()) {
		nodes.Go(func() { ask(client, shards) })
	}
	nodes.Wait()
}
