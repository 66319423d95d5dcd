package cart

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// ackPatience is how long a mutation waits for Kafka under ACK=kafka.
	ackPatience = 5 * time.Second
	// ackPoll is how often whoever waits reads the position itself, since pub/sub loses messages.
	ackPoll = 200 * time.Millisecond
)

var (
	errNotRelayed        = errors.New("the change was not confirmed by Kafka in time")
	errGenerationChanged = errors.New("the shard's generation changed meanwhile")
)

// position is how far an outbox was relayed, under one generation.
type position struct {
	generation int64
	id         streamID
}

// streamID orders outbox entries.
type streamID struct{ generation, n uint64 }

// readStreamID reads "<generation>-<n>"; an entry that never was, "<generation>--", is before every other.
func readStreamID(text string) streamID {
	number, n, _ := strings.Cut(text, "-")
	var id streamID
	var err error
	if id.n, err = strconv.ParseUint(n, 10, 64); err != nil {
		return streamID{}
	}
	id.generation, _ = strconv.ParseUint(number, 10, 64) // what isn't a number is before every other
	return id
}

func (p position) covers(id streamID) bool {
	return p.id.generation > id.generation || p.id.generation == id.generation && p.id.n >= id.n
}

// positions are the newest positions that this process heard of, and those who wait for the next.
type positions struct {
	mu     sync.Mutex
	shards []position
	next   []chan struct{}
}

func newPositions(shards int) *positions {
	return &positions{shards: make([]position, shards), next: make([]chan struct{}, shards)}
}

// announce wakes who waits for the shard, unless something newer was announced before.
func (p *positions) announce(shard int, generation int64, upTo string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	heard, id := p.shards[shard], readStreamID(upTo)
	if generation < heard.generation || generation == heard.generation && heard.covers(id) {
		return
	}
	p.shards[shard] = position{generation, id}
	if p.next[shard] != nil {
		close(p.next[shard])
		p.next[shard] = nil
	}
}

// get returns the newest position and what is closed when there is another.
func (p *positions) get(shard int) (position, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next[shard] == nil {
		p.next[shard] = make(chan struct{})
	}
	return p.shards[shard], p.next[shard]
}

// Run watches how full Redis is, and listens to how far other instances relay, which is what mutations wait for under
// AckKafka, until ctx ends. It returns nil.
func (s *Store) Run(ctx context.Context) error {
	var watching sync.WaitGroup
	watching.Go(func() { s.watchMemory(ctx) })
	defer watching.Wait()
	f := s.Feed(relayedElsewhere{s.relayed})
	if s.AckKafka {
		for shard := range s.nodes.shards() {
			f.link(shard).follow(s.nodes.relayed(shard), strconv.Itoa(shard))
		}
	}
	return f.Run(ctx)
}

// relayedElsewhere takes what trim.lua publishes: "<generation> <position>".
type relayedElsewhere struct{ heard *positions }

func (r relayedElsewhere) Changed(channel, payload string) {
	shard, err := strconv.Atoi(channel)
	number, id, ok := strings.Cut(payload, " ")
	generation, malformed := strconv.ParseInt(number, 10, 64)
	if err == nil && malformed == nil && ok {
		r.heard.announce(shard, generation, id)
	}
}

// Subscribed does nothing: whoever waits asks by itself now and then.
func (r relayedElsewhere) Subscribed(string) {}

// waitRelayed returns once Kafka has the outbox entry, under the generation that the caller's answer came from. Under
// another the entry may have been lost with what was raised over, so that is an error, as is waiting too long.
func (s *Store) waitRelayed(ctx context.Context, shard int, generation int64, id string) error {
	wanted := readStreamID(id)
	if wanted == (streamID{}) {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, ackPatience, errNotRelayed)
	defer cancel()
	poll := time.NewTicker(ackPoll)
	defer poll.Stop()
	for {
		p, next := s.relayed.get(shard)
		if p.generation == generation && p.covers(wanted) {
			return nil
		}
		if p.generation > generation {
			return errGenerationChanged
		}
		select {
		case <-next:
		case <-poll.C:
			if err := s.readPosition(ctx, shard); err != nil {
				s.Log.DebugContext(ctx, "read position", "shard", shard, "error", err)
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// readPosition asks Redis how far the shard was relayed. A server that forgot its scripts isn't believed.
func (s *Store) readPosition(ctx context.Context, shard int) error {
	l, answer, err := s.run(ctx, shard, scriptPosition, []string{s.nodes.generation(shard), s.nodes.position(shard)})
	if err != nil {
		return err
	}
	word, upTo := split(answer)
	if word != "ok" {
		return fmt.Errorf("position of shard %d: %s", shard, word)
	}
	s.relayed.announce(shard, l.Number, upTo)
	return nil
}
