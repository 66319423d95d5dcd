// Package schemas is what crosses a process boundary: the objects of the REST and WebSocket API, the Kafka topics with
// their keys, values and headers, the documents in MongoDB, and what waits in the outbox between two instances.
//
// Fields are only ever added; whoever reads ignores those that it doesn't know. The package imports nothing of
// cartstream, so every other package may import it.
package schemas
