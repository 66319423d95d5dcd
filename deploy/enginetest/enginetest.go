// Package enginetest gives a test the engines it needs, empty and its own.
//
// By default they are the embedded ones, so that `go test ./...` needs nothing but Go: miniredis, kfake
// and FerretDB 1 with SQLite, one process an engine and test, started in some 20 ms. With
// CARTSTREAM_ENGINES=real they are the real ones: a redis-server of the test's own, and the Kafka and
// MongoDB that KAFKA_BROKERS and MONGODB_URI name.
//
// Every process ends with its test, and with the test binary however that ends, SIGKILL included. A
// missing engine fails the test at once, with the reason.
package enginetest

import (
	"context"
	"os"
	"testing"

	"cartstream/deploy/engines/engine"
	"cartstream/deploy/launch"
)

// Real reports whether the tests were asked to run on the real engines.
func Real() bool { return os.Getenv("CARTSTREAM_ENGINES") == "real" }

// Redis returns the address of an empty Redis: miniredis, or redis-server when Real.
func Redis(t testing.TB) string {
	t.Helper()
	if Real() {
		return RealRedis(t).Addr
	}
	return EmbeddedRedis(t).Addr
}

// Kafka returns the brokers, comma-separated, of a cluster without topics: kfake with one broker. When
// Real it is the one of KAFKA_BROKERS, whose topics and groups are deleted first, so that such tests
// must not run in parallel, and only brokers on this machine are accepted.
func Kafka(t testing.TB) string {
	t.Helper()
	if Real() {
		return emptiedKafka(t)
	}
	return EmbeddedKafka(t).Addr
}

// Mongo returns the URI of an empty database: FerretDB 1, or, when Real, a new database on the server of
// MONGODB_URI, dropped at the end of the test.
func Mongo(t testing.TB) string {
	t.Helper()
	if Real() {
		return ownDatabase(t)
	}
	return EmbeddedMongo(t).Addr
}

// EmbeddedRedis is miniredis. It keeps nothing: Stop and Kill both lose all data.
func EmbeddedRedis(t testing.TB) *Server {
	t.Helper()
	return embedded(t,
		func(port int) launch.Options { return launch.Options{Redis: true, RedisPort: port, Miniredis: true} },
		func(a launch.Addresses) string { return a.Redis })
}

// EmbeddedKafka is kfake. It keeps topics, records and groups over Stop and Kill.
func EmbeddedKafka(t testing.TB) *Server {
	t.Helper()
	return embedded(t,
		func(port int) launch.Options { return launch.Options{Kafka: true, KafkaPort: port} },
		func(a launch.Addresses) string { return a.Kafka })
}

// EmbeddedMongo is FerretDB 1 with SQLite; its Addr is a URI. It keeps its documents over Stop and Kill.
func EmbeddedMongo(t testing.TB) *Server {
	t.Helper()
	return embedded(t,
		func(port int) launch.Options { return launch.Options{MongoDB: true, MongoDBPort: port} },
		func(a launch.Addresses) string { return a.MongoDB })
}

// embedded starts one engine. Its port is one that the kernel gives to no outgoing connection, so that
// nothing can take it while the engine is stopped.
func embedded(t testing.TB, on func(port int) launch.Options, addr func(launch.Addresses) string) *Server {
	t.Helper()
	ports, err := engine.FreePorts(1)
	must(t, err)
	o := on(ports[0])
	o.Data = t.TempDir()
	s := &Server{t: t}
	s.start = func() (process, error) {
		e, err := launch.Start(context.Background(), o)
		if err != nil {
			return nil, err
		}
		s.Addr = addr(e.Addresses)
		return e, nil
	}
	s.Start()
	t.Cleanup(s.Kill)
	return s
}
