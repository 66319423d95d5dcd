package main

import (
	"context"
	"errors"
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

// refuse makes a topic want more replicas in sync than there are.
func (st *strikes) refuse(topic string) fault {
	want := func(replicas string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := st.stack.admin().AlterTopicConfigs(ctx, []kadm.AlterConfig{
				{Op: kadm.SetConfig, Name: "min.insync.replicas", Value: &replicas}}, topic)
			return err
		}
	}
	return fault{"a topic takes nothing", topic + " takes nothing", st.between(2*second, 5*second), want("4"), want("2")}
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
