package main

import (
	"context"
	"time"
)

// scenarios are what `task test:faults` runs.
var scenarios = []scenario{
	{
		name: "processes", about: "api, consumers and MongoDB's front killed by -9, frozen and cut off, with poison among the events",
		strike: func(ctx context.Context, st *strikes) error {
			return st.strike(ctx, 7, st.killProduct, st.freezeProduct, st.restartProduct, st.poisonEvents, st.killMongoDB, st.troubleMongoDB, st.killProduct)
		},
	},
	{
		name: "kafka", about: "Kafka's nodes killed and frozen, the network before them cut, slow and silent, topics that take nothing, no place for letters",
		strike: func(ctx context.Context, st *strikes) error {
			return st.strike(ctx, 7, st.killKafka, st.troubleKafka, st.refuseTopic, st.fillSpools, st.outOfKafka, st.freezeKafka, st.killProduct)
		},
	},
	{
		name: "redis", about: "Redis killed and frozen, the network before it cut, slow and silent: nothing that it had written is lost",
		strike: func(ctx context.Context, st *strikes) error {
			return st.strike(ctx, 5, st.killRedis, st.troubleRedis, st.freezeRedis, st.killProduct)
		},
	},
	{
		name: "wiped", about: "Redis loses everything: FLUSHALL, a server without its files, and that while no consumer runs; every change is answered once Kafka has it",
		forgets: true, env: []string{"ACK=kafka"},
		strike: func(ctx context.Context, st *strikes) error {
			return st.strike(ctx, 3, st.flush, st.wipe, st.wipeAlone)
		},
	},
	{
		name: "cluster", about: "slots of a Redis Cluster move while their carts are used, and its masters are killed", cluster: true,
		strike: func(ctx context.Context, st *strikes) error {
			return st.strike(ctx, 3, st.moveSlots, st.killMaster, st.killProduct)
		},
	},
	{
		name: "losses", about: "Redis restarts without the end of its file, and replicas that lag are promoted; every change is answered once Kafka has it",
		env:    []string{"ACK=kafka"},
		strike: func(ctx context.Context, st *strikes) error { return st.strike(ctx, 4, st.cutAOF, st.promote) },
	},
}

// asked are scenarios that run only when they are named: those that measure, and any that the product doesn't pass yet,
// which whoever makes it pass moves up.
var asked = []scenario{
	{
		name: "aof", about: "Redis restarts without the end of its file; every change is answered once Kafka has it", env: []string{"ACK=kafka"},
		strike: func(ctx context.Context, st *strikes) error { return st.strike(ctx, 2, st.cutAOF) },
	},
	{
		name: "replica", about: "a replica that lags is promoted, twice, so that the old master takes over again", env: []string{"ACK=kafka"},
		strike: func(ctx context.Context, st *strikes) error { return st.strike(ctx, 2, st.promote) },
	},
	{
		name: "letters", about: "there is no place for dead letters: no topic, no MongoDB and no disk; and whoever has them on disk is killed",
		strike: func(ctx context.Context, st *strikes) error { return st.strike(ctx, 2, st.fillSpools, st.killSpooled) },
	},
	{
		name: "alone", about: "Redis loses everything while no consumer runs; every change is answered once Kafka has it",
		forgets: true, env: []string{"ACK=kafka"},
		strike: func(ctx context.Context, st *strikes) error { return st.strike(ctx, 2, st.wipeAlone) },
	},
	{
		name: "aof-window", about: "as aof, with changes answered once Redis has them: counts those that are lost", mayLose: true,
		strike: func(ctx context.Context, st *strikes) error { return st.strike(ctx, 5, st.cutAOF) },
	},
	{
		name: "replica-window", about: "as replica, with changes answered once Redis has them: counts those that are lost", mayLose: true,
		strike: func(ctx context.Context, st *strikes) error { return st.strike(ctx, 4, st.promote) },
	},
	{
		name: "wiped-window", about: "as wiped, with changes answered once Redis has them: counts those that are lost", forgets: true, mayLose: true,
		strike: func(ctx context.Context, st *strikes) error { return st.strike(ctx, 2, st.flush, st.wipe) },
	},
}

// soak is all that strikes and loses nothing, with poison among the events and reconciliation.
var soak = scenario{
	name: "soak", about: "everything for a long time", env: []string{"RECONCILE_EVERY=30s"},
	strike: func(ctx context.Context, st *strikes) error {
		for st.since() < st.until {
			if err := st.strike(ctx, 18, st.killProduct, st.freezeProduct, st.restartProduct, st.poisonEvents,
				st.killKafka, st.troubleKafka, st.refuseTopic, st.refuseLetters, st.fillSpools, st.killSpooled, st.outOfKafka, st.freezeKafka,
				st.killRedis, st.troubleRedis, st.freezeRedis, st.killMongoDB, st.troubleMongoDB); err != nil {
				return err
			}
		}
		return nil
	},
}

const second = time.Second
