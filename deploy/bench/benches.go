package main

import "context"

// benchmark is one of the command's names.
type benchmark struct {
	name, about string
	rounds      rounds
	run         func(context.Context, *bench) error
}

// rounds is how many of them a benchmark has.
type rounds int

const (
	several rounds = iota // as many as -rounds says
	once                  // one, unless -rounds says otherwise: it takes over a minute
	apart                 // one, and only where it is named: it takes over ten
)

// benches are all there are, in the order in which they run: one line each.
var benches = []benchmark{
	{"add-item", "POST /v1/cart/items beside a bare Gin handler that runs the same script", several, addItem},
	{"add-item-piped", "the same while relay, Kafka and every consumer work on what both sides add", several, addItemPiped},
	{"script", "the script of an add alone, beside one that only answers; long carts, many carts, memory", several, scriptAlone},
	{"get-cart", "GET /v1/cart of 1, 10 and 100 lines, and 304, beside a bare Gin handler with HGETALL", several, getCart},
	{"ack-kafka", "adds that are answered once Kafka has them, beside ACK=redis", several, ackKafka},
	{"ack-to-socket", "from a change's answer to its WebSocket frame, beside SPUBLISH through a bare gateway", several, ackToSocket},
	{"book-fanout", "a book's new price in many carts, and what others notice", several, bookFanout},
	{"relay-drain", "a million waiting changes into Kafka, and one as it comes, beside raw produces", several, relayDrain},
	{"persist", "changes from Kafka to MongoDB, beside raw bulk writes", several, persistRuns},
	{"reconcile", "comparing and healing all carts, beside reading and writing all documents", once, reconcileRuns},
	{"recovery", "carts of a Redis that came back with less, beside reading what they come from", once, recoveryRuns},
	{"sockets", "what an open, idle WebSocket costs, beside a bare gateway", several, idleSocketsRuns},
	{"idle", "start, an idle instance, and what Redis keeps of a cart and of an answer", several, idleRuns},
	{"steady", "ten minutes at one load: what grows", apart, steadyRun},
}
