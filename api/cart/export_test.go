package cart

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"cartstream/schemas"
)

// Know makes every shard know the book as it is, as the book's consumer does.
func Know(ctx context.Context, s *Store, b schemas.Book) error {
	for shard := range s.nodes.shards() {
		if _, err := s.Learn(ctx, shard, []schemas.Book{b}); err != nil {
			return err
		}
	}
	return nil
}

// Holders returns the users that the index of the user's shard names for a book.
func Holders(ctx context.Context, s *Store, user, book string) ([]string, error) {
	return s.nodes.universal().ZRange(ctx, s.nodes.users(s.ShardOf(user), book), 0, -1).Result()
}

// FactsExpire reports whether the facts of a book will be forgotten by the user's shard.
func FactsExpire(ctx context.Context, s *Store, user, book string) (bool, error) {
	ttl, err := s.nodes.universal().TTL(ctx, s.nodes.facts(s.ShardOf(user), book)).Result()
	return ttl > 0, err
}

// Misplace puts the user into the index of a book that their cart doesn't hold, as a script that was cut short may leave it.
func Misplace(ctx context.Context, s *Store, user, book string) error {
	return s.nodes.universal().ZAdd(ctx, s.nodes.users(s.ShardOf(user), book), redis.Z{Member: user}).Err()
}

// PassAnHour is what an hour does to the facts of a book in the user's shard: it reports whether they were to expire, and are
// gone now.
func PassAnHour(ctx context.Context, s *Store, user, book string) (gone bool, err error) {
	if gone, err = FactsExpire(ctx, s, user, book); err != nil || !gone {
		return false, err
	}
	return true, s.nodes.universal().Del(ctx, s.nodes.facts(s.ShardOf(user), book)).Err()
}

// Backlog returns every entry of the user's outbox.
func Backlog(ctx context.Context, s *Store, user string) ([]schemas.OutboxEntry, error) {
	shard := s.ShardOf(user)
	if _, err := s.look(ctx, shard); err != nil {
		return nil, err
	}
	found, err := s.ReadOutbox(ctx, []schemas.OutboxCursor{{Shard: shard}}, 0, 1_000_000)
	if err != nil {
		return nil, err
	}
	for _, b := range found {
		return b.Entries, b.Err
	}
	return nil, fmt.Errorf("no batch for shard %d", shard)
}
