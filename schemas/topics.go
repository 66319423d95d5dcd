package schemas

import "strconv"

// The topics. Keys are user ids, but for BookEvents, whose keys are book ids; CartDLQ keeps the key of the original.
const (
	CartEvents    = "cart.events.v1"
	CartState     = "cart.state.v1"
	BookEvents    = "book.events.v1"
	CartReminders = "cart.reminders.v1"
	CartDLQ       = "cart.dlq.v1"
)

// Topic is a topic with the settings that downstream teams rely on.
type Topic struct {
	Name        string
	Partitions  int
	Replication int
	Configs     map[string]string
}

const day = 24 * 60 * 60 * 1000 // milliseconds

// Topics returns every topic that cartstream writes.
func Topics(partitions, replication int) []Topic {
	topic := func(name string, configs map[string]string) Topic {
		configs["min.insync.replicas"] = strconv.Itoa(max(1, replication-1))
		configs["unclean.leader.election.enable"] = "false"
		return Topic{Name: name, Partitions: partitions, Replication: replication, Configs: configs}
	}
	keep := func(days int, more map[string]string) map[string]string {
		more["cleanup.policy"] = "delete"
		more["retention.ms"] = strconv.Itoa(days * day)
		return more
	}
	size := func(mib int) map[string]string {
		return map[string]string{"max.message.bytes": strconv.Itoa(mib << 20)}
	}
	state := size(4)
	state["cleanup.policy"] = "compact"
	return []Topic{
		topic(CartEvents, keep(7, size(4))),
		topic(CartState, state),
		topic(BookEvents, keep(7, map[string]string{})),
		topic(CartReminders, keep(7, map[string]string{})),
		topic(CartDLQ, keep(30, size(5))),
	}
}
