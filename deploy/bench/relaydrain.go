package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/schemas"
)

const relayAbout = `
relay-drain: %d changes wait in the outboxes, copies of ones that the API wrote; the api is frozen until all are there.
  relay      from the first of them in Kafka to the last, by the ends of the partitions, asked each 10 ms
  produce    this process: the same records by franz-go, as its defaults are, with 100,000 in its buffer, to a topic of the same settings
  CPU is the process's own time an event; Redis's is that of the relay's turn

`

const relayDelayAbout = `
relay-drain: %d changes a second, one at a time, copies as above; a consumer in this process follows the topic.
  XADD       from before the XADD to when the consumer has the record, which Kafka has acknowledged a moment before
  produce    from before franz-go's Produce without linger to when the consumer has the record
  produce → ack  from the same to the answer

`

// relayDrain measures how fast outboxes get into Kafka, and how soon a change.
func relayDrain(ctx context.Context, b *bench) (err error) {
	s, err := b.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	d, err := s.prepareDrain(ctx)
	if err != nil {
		return err
	}
	defer d.close()
	events := b.sized(1_000_000)
	relay, produce := series{name: "relay"}, series{name: "produce"}
	for round := range b.few() {
		if err := errors.Join(d.turn(ctx, events, &relay), d.produceTurn(ctx, events, &produce)); err != nil {
			return err
		}
		b.say("relay-drain: round %d of %d: %.0f/%.0f events/s", round+1, b.few(), relay.cells[0][round], produce.cells[0][round])
	}
	t := table{columns: []column{{"events/s", 0}, {"CPU µs", 1}, {"Redis CPU µs", 1}}}
	t.compare(relay, produce)
	if _, err := fmt.Fprintf(b.out, relayAbout, events); err != nil {
		return err
	}
	if err := t.print(b.out); err != nil {
		return err
	}
	return b.relayDelay(ctx, d)
}

// relayDelay measures how soon a change is in Kafka.
func (b *bench) relayDelay(ctx context.Context, d *draining) error {
	xadd, produce, ack := series{name: "XADD"}, series{name: "produce"}, series{name: "produce → ack"}
	n := int(b.each.Seconds() * perSecond)
	for range b.rounds {
		d.acked = nil
		for _, side := range []struct {
			into *series
			log  *log
			send func(context.Context, int) (string, error)
		}{{&xadd, d.events, d.addOne}, {&produce, d.raw, d.produceOne}} {
			delays, err := d.follow(ctx, side.log, n, side.send)
			if err != nil {
				return err
			}
			side.into.add(ms(quantile(delays, .5)), ms(quantile(delays, .99)), ms(quantile(delays, 1)))
		}
		slices.Sort(d.acked)
		ack.add(ms(quantile(d.acked, .5)), ms(quantile(d.acked, .99)), ms(quantile(d.acked, 1)))
	}
	t := table{columns: []column{{"p50 ms", 2}, {"p99 ms", 2}, {"longest ms", 2}}}
	t.compare(xadd, produce)
	t.rows = append(t.rows, row{ack, false})
	if _, err := fmt.Fprintf(b.out, relayDelayAbout, perSecond); err != nil {
		return err
	}
	return t.print(b.out)
}

// turn fills the outboxes and measures how fast the relay is through with them.
func (d *draining) turn(ctx context.Context, n int, into *series) error {
	pid := d.api.cmd.Process.Pid
	if err := freeze(pid); err != nil {
		return err
	}
	before, err := d.events.end(ctx)
	if err == nil {
		err = d.fill(ctx, n)
	}
	if err := errors.Join(err, thaw(pid)); err != nil {
		return err
	}
	var began time.Time
	used, err := cpus([]int{pid, d.stack.redis.Pid()})
	if err != nil {
		return err
	}
	there := int64(0)
	err = until(ctx, "relay the changes", 10*time.Millisecond, func() (bool, error) {
		now, err := d.events.end(ctx)
		if began.IsZero() && now > before {
			began, there = time.Now(), now-before
		}
		return now-before >= int64(n), err
	})
	if err != nil {
		return err
	}
	elapsed := time.Since(began)
	after, err := cpus([]int{pid, d.stack.redis.Pid()})
	if err != nil {
		return err
	}
	into.add(float64(int64(n)-there)/elapsed.Seconds(), us(after[0]-used[0])/float64(n), us(after[1]-used[1])/float64(n))
	return nil
}

// fill writes n entries, of all users in turn.
func (d *draining) fill(ctx context.Context, n int) error {
	for from := 0; from < n; from += perBulk {
		pipe := d.redis.Pipeline()
		for i := from; i < min(from+perBulk, n); i++ {
			pipe.XAdd(ctx, d.entry(userID(i%drainUsers)))
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("fill the outboxes: %w", err)
		}
	}
	return nil
}

func (d *draining) entry(user string) *redis.XAddArgs {
	t := d.templates[schemas.Partition(user, shards)]
	return &redis.XAddArgs{Stream: t.stream, ID: t.id, Values: []any{t.name, user + t.rest}}
}

// produceTurn produces the same number of the same records.
func (d *draining) produceTurn(ctx context.Context, n int, into *series) error {
	self := []int{os.Getpid()}
	used, err := cpus(self)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := d.raw.send(ctx, n, d.record); err != nil {
		return err
	}
	elapsed := time.Since(began)
	after, err := cpus(self)
	if err != nil {
		return err
	}
	into.add(float64(n)/elapsed.Seconds(), us(after[0]-used[0])/float64(n), 0)
	return nil
}

// record is a copy of one that the relay produced.
func (d *draining) record(i int) *kgo.Record {
	r := d.records[i%len(d.records)]
	return &kgo.Record{Key: r.Key, Value: r.Value, Headers: r.Headers}
}

// follow sends n changes at their pace and returns how long after it was sent each was in Kafka, sorted. Each is of another
// user, as long as there are enough.
func (d *draining) follow(ctx context.Context, l *log, n int, send func(context.Context, int) (user string, err error)) ([]time.Duration, error) {
	from, err := l.ends(ctx)
	if err != nil {
		return nil, err
	}
	n = min(n, drainUsers)
	there := make(map[string]time.Time, n)
	reading := make(chan error, 1)
	go func() {
		reading <- d.read(ctx, l.topic, from, n, func(r *kgo.Record) { there[string(r.Key)] = time.Now() })
	}()
	if err := sleep(ctx, warm); err != nil { // its connections are there
		return nil, err
	}
	sent, users := make([]time.Time, n), make([]string, n)
	_, err = pace(ctx, senders, perSecond, n, func(ctx context.Context, _, i int) (err error) {
		sent[i] = time.Now()
		users[i], err = send(ctx, i)
		return err
	})
	if err := errors.Join(err, <-reading); err != nil {
		return nil, err
	}
	delays := make([]time.Duration, n)
	for i, user := range users {
		delays[i] = there[user].Sub(sent[i])
	}
	slices.Sort(delays)
	return delays, nil
}

// addOne writes one entry into its outbox.
func (d *draining) addOne(ctx context.Context, i int) (string, error) {
	user := userID(i)
	return user, d.redis.XAdd(ctx, d.entry(user)).Err()
}

// produceOne produces one record and doesn't wait for its answer.
func (d *draining) produceOne(ctx context.Context, i int) (string, error) {
	r, sent := d.record(i), time.Now()
	d.raw.client.Produce(context.WithoutCancel(ctx), r, func(_ *kgo.Record, err error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if err == nil {
			d.acked = append(d.acked, time.Since(sent))
		}
	})
	return string(r.Key), nil
}
