package cart

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Users goes over the users of all carts that Redis holds, some at a time, in no order: cursor "" begins, and next "" is
// the end. limit is about how many keys of any kind Redis looks at, so that few users or none may come back before the end. A cart that is
// there all the time is among them, maybe twice, unless shards move to another server meanwhile. Nothing is said about the
// shards that the carts are in: they may be recovering. The error is an *Unavailable.
func (s *Store) Users(ctx context.Context, cursor string, limit int) (users []string, next string, err error) {
	shard, at := 0, uint64(0)
	if cursor != "" {
		first, rest, _ := strings.Cut(cursor, " ")
		shard, err = strconv.Atoi(first)
		if err == nil {
			at, err = strconv.ParseUint(rest, 10, 64)
		}
		if err != nil || shard < 0 || shard >= s.nodes.shards() {
			return nil, "", fmt.Errorf("cursor %q can't be read", cursor)
		}
	}
	client, err := s.nodes.node(ctx, shard)
	if err != nil {
		return nil, "", unavailable("", err)
	}
	keys, at, err := client.Scan(ctx, at, "{*}:c:*", int64(limit)).Result()
	if err != nil {
		return nil, "", unavailable("", fmt.Errorf("go over the carts of shard %d's server: %w", shard, err))
	}
	for _, key := range keys {
		// A book's id may look like the begin of a cart's key.
		if _, user, ok := strings.Cut(key, "}:c:"); ok && s.nodes.cart(s.nodes.shardOf(user), user) == key {
			users = append(users, user)
		}
	}
	if at != 0 {
		return users, fmt.Sprintf("%d %d", shard, at), nil
	}
	if shard = s.nextServer(ctx, shard); shard > 0 {
		next = fmt.Sprintf("%d 0", shard)
	}
	return users, next, nil
}

// nextServer returns the first shard of the server that follows the one whose first shard is this, 0 where none does.
func (s *Store) nextServer(ctx context.Context, shard int) (next int) {
	for _, shards := range s.Servers(ctx) {
		if shards[0] > shard && (next == 0 || shards[0] < next) {
			next = shards[0]
		}
	}
	return next
}
