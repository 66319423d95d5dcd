package main

import (
	"context"
	"time"
)

// scenarios are what `task test:faults` runs.
var scenarios = []scenario{
	{
		name: "processes", about: "api and consumers killed by -9, frozen and restarted, with poison among the events",
		strike: func(ctx context.Context, st *strikes) error {
			return st.strike(ctx, 8, st.killProduct, st.freezeProduct, st.restartProduct, st.poisonEvents)
		},
	},
	{
		name: "kafka", about: "Kafka's nodes killed and frozen, the network before them cut, slow and silent, topics that take nothing",
		strike: func(ctx context.Context, st *strikes) error {
			return st.strike(ctx, 8, st.killKafka, st.troubleKafka, st.refuseTopic, st.outOfKafka, st.freezeKafka, st.killProduct)
		},
	},
	{
		name: "redis", about: "Redis killed and frozen, the network before it cut, slow and silent: nothing that it had written is lost",
		strike: func(ctx context.Context, st *strikes) error {
			return st.strike(ctx, 8, st.killRedis, st.troubleRedis, st.freezeRedis, st.killProduct)
		},
	},
	{
		name: "mongodb", about: "MongoDB's front killed, the network before it cut, slow and silent",
		strike: func(ctx context.Context, st *strikes) error {
			return st.strike(ctx, 6, st.killMongoDB, st.troubleMongoDB, st.killProduct)
		},
	},
}

// awaited are scenarios that the product doesn't pass yet. Whoever makes one pass moves it up.
var awaited = []scenario{
	{
		name: "aof", about: "Redis restarts without the end of its file; every change is answered once Kafka has it", env: []string{"ACK=kafka"},
		strike: func(ctx context.Context, st *strikes) error { return st.strike(ctx, 3, st.cutAOF) },
	},
	{
		name: "aof-window", about: "the same, with changes answered once Redis has them: counts those that are lost", mayLose: true,
		strike: func(ctx context.Context, st *strikes) error { return st.strike(ctx, 5, st.cutAOF) },
	},
	{
		name: "replica", about: "a replica that lags is promoted, twice, so that the old master takes over again", env: []string{"ACK=kafka"},
		strike: func(ctx context.Context, st *strikes) error { return st.strike(ctx, 2, st.promote) },
	},
	{
		name: "replica-window", about: "the same, with changes answered once Redis has them: counts those that are lost", mayLose: true,
		strike: func(ctx context.Context, st *strikes) error { return st.strike(ctx, 4, st.promote) },
	},
	{
		name: "wiped", about: "Redis loses everything: FLUSHALL, and a server without its files", forgets: true, env: []string{"ACK=kafka"},
		strike: func(ctx context.Context, st *strikes) error { return st.strike(ctx, 2, st.flush, st.wipe) },
	},
	{
		name: "wiped-window", about: "the same, with changes answered once Redis has them: counts those that are lost", forgets: true, mayLose: true,
		strike: func(ctx context.Context, st *strikes) error { return st.strike(ctx, 2, st.flush, st.wipe) },
	},
}

var soak = scenario{name: "soak", about: "everything for a long time", strike: func(ctx context.Context, st *strikes) error {
	for st.since() < st.until {
		if err := st.strike(ctx, 1, st.killProduct, st.freezeProduct, st.restartProduct, st.poisonEvents); err != nil {
			return err
		}
	}
	return nil
}}

const second = time.Second
