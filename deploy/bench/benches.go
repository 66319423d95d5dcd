package main

import "context"

// benchmark is one of the command's names.
type benchmark struct {
	name, about string
	// once: a round takes over a minute, so there is one unless -rounds says otherwise.
	once bool
	run  func(context.Context, *bench) error
}

// benches are all there are, in the order in which they run: one line each.
var benches = []benchmark{
	{"add-item", "POST /v1/cart/items beside a bare Gin handler that runs the same script", false, addItem},
	{"add-item-piped", "the same while relay, Kafka and every consumer work on what both sides add", false, addItemPiped},
	{"script", "the script of an add alone, beside one that only answers; long carts, many carts, memory", false, scriptAlone},
	{"get-cart", "GET /v1/cart of 1, 10 and 100 lines, and 304, beside a bare Gin handler with HGETALL", false, getCart},
	{"ack-kafka", "adds that are answered once Kafka has them, beside ACK=redis", false, ackKafka},
	{"ack-to-socket", "from a change's answer to its WebSocket frame, beside SPUBLISH through a bare gateway", false, ackToSocket},
	{"book-fanout", "a book's new price in many carts, and what others notice", false, bookFanout},
	{"relay-drain", "a million waiting changes into Kafka, and one as it comes, beside raw produces", false, relayDrain},
	{"persist", "changes from Kafka to MongoDB, beside raw bulk writes", false, persistRuns},
	{"reconcile", "comparing and healing all carts, beside reading and writing all documents", true, reconcileRuns},
	{"recovery", "carts of a Redis that came back with less, beside reading what they come from", true, recoveryRuns},
	{"sockets", "what an open, idle WebSocket costs, beside a bare gateway", false, idleSocketsRuns},
	{"idle", "start, an idle instance, and what Redis keeps of a cart and of an answer", false, idleRuns},
}
