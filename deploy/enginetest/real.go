package enginetest

import (
	"context"
	"crypto/rand"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// emptiedKafka returns KAFKA_BROKERS after deleting every topic and group there.
func emptiedKafka(t testing.TB) string {
	t.Helper()
	brokers := os.Getenv("KAFKA_BROKERS")
	if brokers == "" {
		t.Fatal("CARTSTREAM_ENGINES=real needs KAFKA_BROKERS: start the engines with `task engines -- up` and set what it prints")
	}
	for _, broker := range strings.Split(brokers, ",") {
		host, _, err := net.SplitHostPort(strings.TrimSpace(broker))
		if err != nil || (host != "localhost" && !net.ParseIP(host).IsLoopback()) {
			t.Fatalf("the tests delete all topics: refusing the broker %q, which isn't on this machine", broker)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...))
	must(t, err)
	defer client.Close()
	admin := kadm.NewClient(client)

	groups, err := admin.ListGroups(ctx)
	must(t, err)
	// A group that still has members is one of a test that just ended: it goes with its topics' offsets.
	_, _ = admin.DeleteGroups(ctx, groups.Groups()...)
	await(ctx, t, "Kafka has no topics", func() bool {
		topics, err := admin.ListTopics(ctx)
		if err != nil {
			return false
		}
		if len(topics) > 0 {
			_, _ = admin.DeleteTopics(ctx, topics.Names()...)
		}
		return len(topics) == 0
	})
	return brokers
}

// ownDatabase returns MONGODB_URI with a random database in its path.
func ownDatabase(t testing.TB) string {
	t.Helper()
	server := os.Getenv("MONGODB_URI")
	if server == "" {
		t.Fatal("CARTSTREAM_ENGINES=real needs MONGODB_URI: start the engines with `task engines -- up` and set what it prints")
	}
	u, err := url.Parse(server)
	must(t, err)
	name := "test_" + strings.ToLower(rand.Text()[:16])
	u.Path = "/" + name

	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		client, err := mongo.Connect(options.Client().ApplyURI(server))
		must(t, err)
		defer func() { _ = client.Disconnect(ctx) }()
		if err := client.Database(name).Drop(ctx); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return u.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// await polls until the claim holds and fails the test when ctx ends first.
func await(ctx context.Context, t testing.TB, claim string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("it never became true that %s", claim)
		}
	}
}
