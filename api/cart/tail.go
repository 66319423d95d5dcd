package cart

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"cartstream/schemas"
)

// What recovery needs to bring a shard up to what Kafka has, while nothing serves it. Each write names the generation under
// which the shard is being recovered, and is refused under another.

//go:embed lua/bring.lua
var bringScript string

//go:embed lua/note.lua
var noteScript string

// Record is a cart that recovery brings up to what Kafka has.
type Record struct {
	schemas.Cart
	own      schemas.CartChanged // the user's own last change: epoch, version and time
	reminded bool
	answers  []keptAnswer
	touched  bool
}

// keptAnswer is what a keyed request was answered, to be answered again.
type keptAnswer struct {
	hash, value string
	until       time.Time
}

// Apply brings the cart up to a change, by the rule that all consumers follow. What was kept of the request that made it
// comes back with it: key and request are the hashes in the record's headers, "" where it had none, and keep is how long an
// answer is kept.
func (r *Record) Apply(c schemas.CartChanged, key, request string, keep time.Duration) schemas.Outcome {
	outcome := r.Cart.Apply(c)
	if outcome == schemas.Stale {
		return outcome
	}
	r.touched = true
	if outcome == schemas.Gap {
		return outcome
	}
	if c.Type != schemas.BookChangedInCart && c.Type != schemas.Restored || r.own.Version == 0 {
		r.own, r.reminded = c, false
	}
	if key != "" {
		// The change is in Kafka: nobody has to wait for it to be relayed.
		r.answers = append(r.answers, keptAnswer{key, request + " 0-0 " + compactChange(c), c.OccurredAt.Add(keep)})
	}
	return outcome
}

// Store brings the cart up to its copy in MongoDB, where that is newer. The copy's last change stands for the user's own.
func (r *Record) Store(c schemas.Cart) {
	if !schemas.Newer(c.Epoch, c.Version, r.Epoch, r.Version) {
		return
	}
	r.Cart, r.reminded, r.touched = c, false, true
	r.own = schemas.CartChanged{Epoch: c.Epoch, Version: c.Version}
	if c.UpdatedAt != nil {
		r.own.OccurredAt = *c.UpdatedAt
	}
}

// Touched reports whether Kafka or MongoDB had something that the shard did not have.
func (r *Record) Touched() bool { return r.touched }

// compactChange is a change as scripts answer it.
func compactChange(c schemas.CartChanged) string {
	var b strings.Builder
	whole := "0"
	if c.Whole {
		whole = "1"
	}
	fmt.Fprintf(&b, "%d %d %s %s %d %d %d %d", c.Epoch, c.Version, c.Type, whole, c.OccurredAt.UnixMilli(),
		c.TotalAmount, c.TotalQuantity, c.LineCount)
	for i, l := range c.Items {
		b.WriteString(lineSeparator + l.BookID + " " + compactLine(l, i+1))
	}
	return b.String()
}

// readRecord reads the fields and values of a cart's hash.
func readRecord(user, currency string, fields []any) (*Record, error) {
	c, err := readContact(user, currency, fields)
	if err != nil {
		return nil, err
	}
	r := &Record{Cart: c.Cart, own: schemas.CartChanged{Epoch: c.Epoch, Version: c.Version, OccurredAt: c.At}}
	for i := 0; i+1 < len(fields); i += 2 {
		if head, _ := fields[i+1].(string); fields[i] == headField {
			r.reminded = strings.HasSuffix(head, " r")
		}
	}
	return r, nil
}

// arguments are ARGV of bring.lua after the generation.
func (r *Record) arguments(now time.Time, idle int64) []any {
	var updated int64
	if r.UpdatedAt != nil {
		updated = r.UpdatedAt.UnixMilli()
	}
	marker, own, window := "-", "", ""
	at := r.own.OccurredAt.UnixMilli()
	switch {
	case r.reminded:
		marker = "r"
	case r.own.Epoch != r.Epoch || r.own.Version != r.Version:
		marker = "o"
	}
	if marker != "-" {
		own = fmt.Sprintf("%d %d %d", r.own.Epoch, r.own.Version, at)
	}
	if !r.reminded {
		window = strconv.FormatInt(at-at%idle, 10)
	}
	changed := now.UnixMilli()
	argv := []any{r.UserID, fmt.Sprintf("%d %d %d %d %d %d %d - %s", r.Epoch, r.Version, r.TotalAmount, r.TotalQuantity, r.LineCount,
		len(r.Items)+1, updated, marker), own, window, changed - changed%changeWindow.Milliseconds()}
	kept := 0
	argv = append(argv, 0)
	count := len(argv) - 1
	for _, a := range r.answers {
		if left := a.until.Sub(now); left > 0 {
			argv, kept = append(argv, a.hash, a.value, left.Milliseconds()+1), kept+1
		}
	}
	argv[count] = kept
	for i, l := range r.Items {
		argv = append(argv, l.BookID, compactLine(l, i+1))
	}
	return argv
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
	found := make([]*redis.Cmd, len(users))
	_, err := n.conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, u := range users {
			// Not HGetAll: a map has no order, and these fields are read as a script's answer is.
			found[i] = p.Do(ctx, "EVAL", "return redis.call('HGETALL', KEYS[1])", 1, n.store.nodes.cart(n.store.ShardOf(u), u))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read carts: %w", err)
	}
	records := make(map[string]*Record, len(users))
	for i, u := range users {
		fields, _ := found[i].Val().([]any)
		if records[u], err = readRecord(u, n.store.Currency, fields); err != nil {
			return nil, err
		}
	}
	return records, nil
}

// Bring writes carts back, under their own epoch and version, with the answers and indexes that belong to them. It emits
// nothing. g and state are those of the shards; ErrOvertaken says that one had others by then.
func (n *Node) Bring(ctx context.Context, g Generation, state State, records []*Record) error {
	done, now := make([]*redis.Cmd, len(records)), time.Now()
	_, err := n.conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, r := range records {
			shard := n.store.ShardOf(r.UserID)
			argv := append([]any{g.String() + " " + string(state)}, r.arguments(now, n.store.idleWindow())...)
			done[i] = p.Eval(ctx, bringScript, []string{n.store.nodes.generation(shard), n.store.nodes.cart(shard, r.UserID)}, argv...)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("bring carts: %w", err)
	}
	for i, d := range done {
		if answer, err := d.Int(); err != nil || answer != 1 {
			return errors.Join(fmt.Errorf("bring the cart of %s: %w", records[i].UserID, ErrOvertaken), err)
		}
	}
	return nil
}

// Holds notes the offset up to which the shard holds everything, -1 for none.
func (n *Node) Holds(ctx context.Context, shard int, g Generation, state State, offset int64) error {
	return n.note(ctx, shard, g, state, strconv.FormatInt(offset, 10), "", "")
}

// Opened notes on which server the shard is opened, and asks whoever walks over carts to compare the shard's facts with the
// catalogue: it may have lost what it knew of some books. It is called before the last Swap.
func (n *Node) Opened(ctx context.Context, shard int, g Generation, state State) error {
	server, err := n.Server(ctx)
	if err != nil {
		return err
	}
	return n.note(ctx, shard, g, state, "", server, g.String())
}

func (n *Node) note(ctx context.Context, shard int, g Generation, state State, offset, server, refresh string) error {
	l := n.store.nodes
	keys := []string{l.generation(shard), l.tail(shard), l.server(shard), l.walks(shard)}
	done, err := n.conn.Eval(ctx, noteScript, keys, g.String()+" "+string(state), offset, server, refresh).Int()
	if err == nil && done != 1 {
		err = ErrOvertaken
	}
	if err != nil {
		return fmt.Errorf("note what shard %d holds: %w", shard, err)
	}
	return nil
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
