package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/schemas"
)

// template is an outbox's entry as the API wrote it, without its user, who comes first.
type template struct {
	stream, id string // of a new entry: the generation and a star
	name, rest string
}

// drainUsers is how many users the changes are of, in turn.
const drainUsers = 100_000

// draining is the outboxes and what to fill them with.
type draining struct {
	*stack
	redis       *redis.Client
	events, raw *log
	templates   map[int]template // by shard
	records     []*kgo.Record

	mu    sync.Mutex
	acked []time.Duration
}

// prepareDrain lets the API write outboxes, which it has then relayed, and keeps what it wrote.
func (s *stack) prepareDrain(ctx context.Context) (*draining, error) {
	d := &draining{stack: s, redis: redis.NewClient(&redis.Options{Addr: s.redis.Addr, MaxRetries: -1})}
	if err := s.createBooks(ctx); err != nil {
		return nil, err
	}
	var err error
	if d.events, err = s.openLog(ctx, schemas.CartEvents); err != nil {
		return nil, err
	}
	if d.raw, err = s.openLog(ctx, "raw"); err != nil {
		return nil, err
	}
	users, err := callers(addUsers)
	if err != nil {
		return nil, err
	}
	pid := s.kafka.Nodes[0].Pid()
	// For a moment only, so that its controller doesn't give it up.
	if err := freeze(pid); err != nil {
		return nil, err
	}
	err = addOnce(ctx, s.api.addr, users)
	if err == nil {
		err = d.collect(ctx)
	}
	if err := errors.Join(err, thaw(pid)); err != nil {
		return nil, err
	}
	if err := until(ctx, "empty the outboxes", 10*time.Millisecond, func() (bool, error) { return d.empty(ctx) }); err != nil {
		return nil, err
	}
	from, err := d.events.ends(ctx)
	if err != nil {
		return nil, err
	}
	var unused series // warms both sides up
	if err := d.turn(ctx, drainUsers, &unused); err != nil {
		return nil, err
	}
	if err := s.read(ctx, schemas.CartEvents, from, drainUsers, func(r *kgo.Record) { d.records = append(d.records, r) }); err != nil {
		return nil, err
	}
	return d, d.produceTurn(ctx, drainUsers, &unused)
}

// shards is how many there are unless told otherwise.
const shards = 128

// collect keeps one entry of each outbox: a stream of Redis is one.
func (d *draining) collect(ctx context.Context) error {
	d.templates = map[int]template{}
	streams := d.redis.ScanType(ctx, 0, "", 1000, "stream").Iterator()
	for streams.Next(ctx) {
		found, err := d.redis.XRangeN(ctx, streams.Val(), "-", "+", 1).Result()
		if err != nil {
			return err
		}
		for _, m := range found {
			generation, _, _ := strings.Cut(m.ID, "-")
			for name, value := range m.Values {
				user, rest, _ := strings.Cut(fmt.Sprint(value), " ")
				d.templates[schemas.Partition(user, shards)] = template{streams.Val(), generation + "-*", name, " " + rest}
			}
		}
	}
	if len(d.templates) < shards && streams.Err() == nil {
		return fmt.Errorf("%d of %d outboxes have entries", len(d.templates), shards)
	}
	return streams.Err()
}

// empty reports whether the relay has removed everything.
func (d *draining) empty(ctx context.Context) (bool, error) {
	pipe := d.redis.Pipeline()
	var lengths []*redis.IntCmd
	for _, t := range d.templates {
		lengths = append(lengths, pipe.XLen(ctx, t.stream))
	}
	_, err := pipe.Exec(ctx)
	for _, l := range lengths {
		if l.Val() > 0 {
			return false, err
		}
	}
	return true, err
}

func (d *draining) close() {
	d.events.close()
	d.raw.close()
	_ = d.redis.Close()
}
