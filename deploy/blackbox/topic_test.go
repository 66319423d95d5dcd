package blackbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/deploy/enginetest"
	"cartstream/deploy/outside"
	"cartstream/schemas"
	"cartstream/schemas/env"
)

// Redis loses everything while cart.events.v1 is gone: what only that held can't be known, so nothing is opened before it
// is back.
func TestALostRedisWaitsForATopicThatIsGone(t *testing.T) {
	redis := enginetest.EmbeddedRedis(t)
	s := start(t, options{apis: 1, consumers: 1, redis: redis.Addr})
	book := createBooks(t, s, func(int) string { return "Emma" }, 1)[0]
	add := func(key string) (schemas.CartChanged, error) {
		c := addItem(book, 1)
		c.key = key
		return insist(t.Context(), s, "u1", c)
	}
	before, err := add("one")
	if err != nil {
		t.Fatal(err)
	}
	cart, err := getCart(t.Context(), s.apis[0].addr, "u1")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cart is stored", stored(t, s, cart))
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).DeleteTopics(t.Context(), schemas.CartEvents); err != nil {
		t.Fatal(err)
	}
	redis.Kill() // keeps nothing
	redis.Start()

	closed := func() error {
		a, err := send(t.Context(), s.apis[0].addr, "", call{method: "GET", path: "/readyz"})
		if err == nil && (a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), `"shards":{"ready":0,"recovering":128}`)) {
			err = fmt.Errorf("/readyz: %d %s", a.status, a.body)
		}
		return err
	}
	eventually(t, "readiness says that nothing is open", closed)
	eventually(t, "the log says why", func() error {
		text, err := os.ReadFile(s.apis[0].log)
		if err == nil && !strings.Contains(string(text), schemas.CartEvents+" is gone") {
			err = errors.New("nothing of it")
		}
		return err
	})
	a, err := send(t.Context(), s.apis[0].addr, token("u1", ""), addItem(book, 1))
	if err != nil || a.status != http.StatusServiceUnavailable {
		t.Errorf("an add while nothing is open: %d %s, %v", a.status, a.body, err)
	} else if slug, applied := a.problem(); slug != "unavailable" || applied != "no" {
		t.Errorf("an add while nothing is open: %s", a.body)
	}
	if err := closed(); err != nil {
		t.Error(err)
	}

	kafka := env.Kafka{Partitions: 16, Replication: 1}
	eventually(t, "the topic is there again", func() error { return kafka.EnsureTopics(t.Context(), client) })
	change, err := add("two")
	if err != nil || change.Version != before.Version+1 || change.Items[0].Quantity != 2 || !change.Whole {
		text, _ := json.Marshal(change)
		t.Errorf("the next change: %s, %v", text, err)
	}
	if cart, err = getCart(t.Context(), s.apis[0].addr, "u1"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is stored", stored(t, s, cart))
}

// stored returns nil once MongoDB has the cart.
func stored(t *testing.T, s *stack, want schemas.Cart) func() error {
	return func() error {
		var c schemas.Cart
		if err := collection(t, s).FindOne(t.Context(), bson.D{{Key: "_id", Value: want.UserID}}).Decode(&c); err != nil {
			return err
		}
		return outside.Same(c, want)
	}
}

// All topics are deleted and made anew while everything runs, in use before and after.
func TestTopicsThatAreMadeAnewAreFollowedByAll(t *testing.T) {
	s := start(t, options{apis: 1, consumers: 1})
	book := createBooks(t, s, func(int) string { return "Emma" }, 1)[0]
	anna := customer{t, s, "anna"}
	device := follow(t, "anna", s.apis[0].addr)
	anna.does(addItem(book, 2), http.StatusOK, "")
	s.admin(t, "PATCH", book, `{"unitPrice":150}`)
	cart := anna.sees("2 × 150 (was 100), available: 300 of 300, 2, 1")
	eventually(t, "the cart is stored", stored(t, s, cart))
	eventually(t, "and published", func() error { return outside.Same(states(t, s)["anna"], cart) })

	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).DeleteTopics(t.Context(), schemas.CartEvents, schemas.CartState, schemas.BookEvents); err != nil {
		t.Fatal(err)
	}
	kafka := env.Kafka{Partitions: 16, Replication: 1}
	eventually(t, "the topics are there again", func() error { return kafka.EnsureTopics(t.Context(), client) })

	anna.does(addItem(book, 1), http.StatusOK, "")
	s.admin(t, "PATCH", book, `{"unitPrice":170}`)
	cart = anna.sees("3 × 170 (was 150), available: 510 of 510, 3, 1")
	eventually(t, "the cart is stored", stored(t, s, cart))
	eventually(t, "and published", func() error { return outside.Same(states(t, s)["anna"], cart) })
	eventually(t, "and shown", func() error { return device.Shows(cart) })
}
