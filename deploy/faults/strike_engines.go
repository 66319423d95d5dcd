package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"cartstream/schemas"
)

// --- Kafka

func (st *strikes) killKafka() fault {
	n := st.stack.kafka.Nodes[st.random.IntN(kafkaNodes)]
	return kill("a Kafka node", n.Name, n, st.between(second, 4*second))
}

func (st *strikes) freezeKafka() fault {
	n := st.stack.kafka.Nodes[st.random.IntN(kafkaNodes)]
	return freeze("a Kafka node", n.Name, n, st.between(second, 6*second))
}

// troubleKafka makes the network before one node cut, slow or silent.
func (st *strikes) troubleKafka() fault {
	return st.trouble("a Kafka node", st.stack.toKafka[st.random.IntN(kafkaNodes)], 4*second)
}

// outOfKafka cuts the network before all nodes: Kafka is away as a whole.
func (st *strikes) outOfKafka() fault {
	return fault{"cut all of Kafka", "cut all of Kafka", st.between(3*second, 6*second),
		func(context.Context) error {
			for _, p := range st.stack.toKafka {
				p.cut()
			}
			return nil
		},
		func(ctx context.Context) error {
			for _, p := range st.stack.toKafka {
				if err := p.mend(ctx); err != nil {
					return err
				}
			}
			return nil
		}}
}

// refuseTopic makes one topic refuse what is produced to it.
func (st *strikes) refuseTopic() fault {
	return st.refuse([]string{schemas.CartEvents, schemas.CartState, schemas.BookEvents}[st.random.IntN(3)])
}

// refuseLetters makes the topic of dead letters refuse one, which has to be kept elsewhere.
func (st *strikes) refuseLetters() fault {
	f := st.refuse(schemas.CartDLQ)
	refuse := f.do
	f.kind, f.what = "no topic for letters, and poison", f.what+", and there is poison"
	f.do = func(ctx context.Context) error { return errors.Join(refuse(ctx), st.plant(ctx)) }
	return f
}

// refuse makes a topic want all three replicas in sync while one node is stopped, in order so that Kafka knows at once. It
// can't be made to want more than it has: Kafka 4 then takes all that there are as enough.
func (st *strikes) refuse(topic string) fault {
	node := st.stack.kafka.Nodes[st.random.IntN(kafkaNodes)]
	want := func(ctx context.Context, replicas string) error {
		_, err := st.stack.admin().AlterTopicConfigs(ctx, []kadm.AlterConfig{
			{Op: kadm.SetConfig, Name: "min.insync.replicas", Value: &replicas}}, topic)
		return err
	}
	return fault{"a topic takes nothing", topic + " takes nothing", st.between(2*second, 5*second),
		func(ctx context.Context) error {
			if err := want(ctx, "3"); err != nil {
				return err
			}
			if err := node.Stop(ctx); err != nil {
				return err
			}
			return until(ctx, 30*second, func(ctx context.Context) error { return st.stack.short(ctx, topic) })
		},
		func(ctx context.Context) error { return errors.Join(want(ctx, "2"), node.Start(ctx)) }}
}

// short returns nil once no partition of the topic has all its replicas in sync.
func (s *stack) short(ctx context.Context, topic string) error {
	topics, err := s.admin().ListTopics(ctx, topic)
	if err != nil {
		return err
	}
	for _, p := range topics[topic].Partitions {
		if p.Err != nil || len(p.ISR) >= kafkaNodes {
			return fmt.Errorf("%s/%d has %d replicas in sync: %w", topic, p.Partition, len(p.ISR), p.Err)
		}
	}
	return nil
}

// --- MongoDB

func (st *strikes) killMongoDB() fault {
	p := st.stack.mongodb.FerretDB
	return kill("MongoDB", p.Name, p, st.between(second, 3*second))
}

func (st *strikes) troubleMongoDB() fault { return st.trouble("MongoDB", st.stack.toMongoDB, 4*second) }

// --- Redis

// killRedis ends the server and starts it again with all that it had written, which is everything: what is lost is what
// it had in memory, its scripts.
func (st *strikes) killRedis() fault {
	return kill("Redis", "redis", st.stack.master, st.between(0, second))
}

func (st *strikes) freezeRedis() fault {
	return freeze("Redis", "redis", st.stack.master, st.between(second, 3*second))
}

func (st *strikes) troubleRedis() fault { return st.trouble("Redis", st.stack.toRedis, 3*second) }

// trouble cuts, slows or silences the network before one engine.
func (st *strikes) trouble(kind string, p *proxy, most time.Duration) fault {
	lasts := st.between(most/8, most)
	switch st.random.IntN(3) {
	case 0:
		return fault{"cut " + kind, "cut " + p.name, lasts, func(context.Context) error { p.cut(); return nil }, p.mend}
	case 1:
		latency := st.between(10*time.Millisecond, 150*time.Millisecond)
		return fault{"slow " + kind, "slow " + p.name, lasts, func(context.Context) error { return p.slow(latency, latency/2) }, p.mend}
	default:
		return fault{"silence " + kind, "silence " + p.name, lasts, func(context.Context) error { return p.swallow() }, p.mend}
	}
}
