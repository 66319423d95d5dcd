package cart

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Notice tells whoever follows the user of one change.
type Notice struct {
	User string
	// Payload is the change as JSON.
	Payload []byte
}

// What goes out in one pipeline: more would run into the client's write time-out.
const (
	noticesAtOnce     = 256
	noticeBytesAtOnce = 1 << 20
)

// Publish hands the notices to Redis pub/sub, each user's in their order, and returns once Redis took them or failed to.
// Notices for a server that does not answer are dropped after two seconds at most, the others go out at once; the error says
// how many were. Whoever follows has to expect that: pub/sub may lose a notice anyway, or repeat it.
func (s *Store) Publish(ctx context.Context, notices []Notice) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	groups := map[*redis.Client][]Notice{}
	var failed []error
	for _, n := range notices {
		client, err := s.nodes.node(ctx, s.nodes.shardOf(n.User))
		if err != nil {
			failed = append(failed, err)
			continue
		}
		groups[client] = append(groups[client], n)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for client, group := range groups {
		all.Go(func() {
			lost := s.publishTo(ctx, client, group)
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, lost...)
		})
	}
	all.Wait()
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d notices not published, as: %w", len(failed), len(notices), failed[0])
}

// publishTo returns one error for each notice that was not published.
func (s *Store) publishTo(ctx context.Context, client *redis.Client, group []Notice) (failed []error) {
	for len(group) > 0 {
		if err := ctx.Err(); err != nil {
			return append(failed, slices.Repeat([]error{err}, len(group))...)
		}
		n, size := 0, 0
		for n < len(group) && n < noticesAtOnce && (n == 0 || size+len(group[n].Payload) <= noticeBytesAtOnce) {
			size += len(group[n].Payload)
			n++
		}
		failed = append(failed, s.publishOnce(ctx, client, group[:n])...)
		group = group[n:]
	}
	return failed
}

// publishOnce sends one pipeline, and what failed in it a second time: a slot that moved, or a connection that was found
// broken. A notice that came twice does no harm.
func (s *Store) publishOnce(ctx context.Context, client *redis.Client, group []Notice) (failed []error) {
	again, lost := s.publishPipeline(ctx, client, group)
	if len(again) == 0 {
		return nil
	}
	for _, err := range lost {
		if s.nodes.moved(ctx, err) {
			break
		}
	}
	retries := map[*redis.Client][]Notice{}
	for i, n := range again {
		client, err := s.nodes.node(ctx, s.nodes.shardOf(n.User))
		if err != nil || tooLate(ctx, lost[i]) {
			failed = append(failed, lost[i])
			continue
		}
		retries[client] = append(retries[client], n)
	}
	for client, group := range retries {
		_, lost := s.publishPipeline(ctx, client, group)
		failed = append(failed, lost...)
	}
	return failed
}

// tooLate reports whether there is no time left to try again.
func tooLate(ctx context.Context, err error) bool {
	var slow net.Error
	return ctx.Err() != nil || errors.As(err, &slow) && slow.Timeout()
}

// publishPipeline returns the notices that were not published, each with its error.
func (s *Store) publishPipeline(ctx context.Context, client *redis.Client, group []Notice) (again []Notice, lost []error) {
	pipe := client.Pipeline()
	for _, n := range group {
		if s.nodes.cluster != nil {
			pipe.SPublish(ctx, s.nodes.feed(n.User), n.Payload)
		} else {
			pipe.Publish(ctx, s.nodes.feed(n.User), n.Payload)
		}
	}
	commands, _ := pipe.Exec(ctx) // each command has its own error
	for i, c := range commands {
		if err := c.Err(); err != nil {
			again, lost = append(again, group[i]), append(lost, err)
		}
	}
	return again, lost
}
