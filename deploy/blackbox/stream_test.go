package blackbox

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"cartstream/deploy/outside"
	"cartstream/schemas"
)

// readTopic returns every committed record of a topic, each partition in order.
func readTopic(t *testing.T, brokers, topic string) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	records, err := outside.ReadTopic(ctx, []string{brokers}, topic)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// story is a user's changes as they first appeared in Kafka.
type story struct {
	changes []schemas.CartChanged
	raw     [][]byte
	cart    schemas.Cart
}

// stories reads cart.events.v1: each version first appears after all lower ones, none is missing, and repeats say the
// same.
func stories(t *testing.T, s *stack) map[string]*story {
	t.Helper()
	all := map[string]*story{}
	for _, r := range readTopic(t, s.brokers, schemas.CartEvents) {
		user := string(r.Key)
		if int(r.Partition) != schemas.Partition(user, 16) {
			t.Errorf("%s is in partition %d, want %d", user, r.Partition, schemas.Partition(user, 16))
		}
		c, err := schemas.DecodeCartChanged(r.Value)
		if err != nil {
			t.Fatalf("%s/%d@%d: %v", r.Topic, r.Partition, r.Offset, err)
		}
		st := all[user]
		if st == nil {
			st = &story{}
			all[user] = st
		}
		if c.Version <= int64(len(st.raw)) && c.Epoch == st.changes[c.Version-1].Epoch {
			if !bytes.Equal(st.raw[c.Version-1], r.Value) {
				t.Errorf("%s %d.%d has two contents:\n%s\n%s", user, c.Epoch, c.Version, st.raw[c.Version-1], r.Value)
			}
			continue
		}
		if st.cart.Apply(c) != schemas.Applied || c.Version != int64(len(st.raw))+1 {
			t.Fatalf("%s: %d.%d came when %d.%d was the newest", user, c.Epoch, c.Version, st.cart.Epoch, st.cart.Version)
		}
		if c.Totals != schemas.Sum(st.cart.Items) {
			t.Errorf("%s %d.%d: totals %+v, its lines add up to %+v", user, c.Epoch, c.Version, c.Totals, schemas.Sum(st.cart.Items))
		}
		st.changes, st.raw = append(st.changes, c), append(st.raw, r.Value)
	}
	return all
}

// states returns the newest record of each key in cart.state.v1.
func states(t *testing.T, s *stack) map[string]schemas.Cart {
	t.Helper()
	newest := map[string]schemas.Cart{}
	for _, r := range readTopic(t, s.brokers, schemas.CartState) {
		c, err := schemas.DecodeCart(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		if was := newest[c.UserID]; schemas.Newer(was.Epoch, was.Version, c.Epoch, c.Version) {
			t.Errorf("cart.state.v1 goes back from %d.%d to %d.%d for %s", was.Epoch, was.Version, c.Epoch, c.Version, c.UserID)
		}
		newest[c.UserID] = c
	}
	return newest
}

// collection returns MongoDB's copy of the carts.
func collection(t *testing.T, s *stack) *mongo.Collection {
	t.Helper()
	u, err := connstring.Parse(s.mongo)
	if err != nil {
		t.Fatal(err)
	}
	client, err := mongo.Connect(mongooptions.Client().ApplyURI(s.mongo).SetTimeout(20 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return client.Database(u.Database).Collection("carts")
}

// settled waits until Kafka, MongoDB, cart.state.v1 and every device agree with what GET /v1/cart shows, and returns
// the stories.
func settled(t *testing.T, s *stack, users []string, devices []*outside.Device) map[string]*story {
	t.Helper()
	carts := map[string]schemas.Cart{}
	for _, user := range users {
		eventually(t, "the cart of "+user, func() error {
			c, err := getCart(t.Context(), s.apis[0].addr, user)
			carts[user] = c
			return err
		})
		if got := schemas.Sum(carts[user].Items); got != carts[user].Totals {
			t.Errorf("%s: totals %+v, the lines add up to %+v", user, carts[user].Totals, got)
		}
	}
	for _, d := range devices {
		eventually(t, "a device on "+d.Addr, func() error { return d.Shows(carts[d.User]) })
	}
	stored := collection(t, s)
	for _, user := range users {
		eventually(t, "MongoDB's cart of "+user, func() error {
			if carts[user].Version == 0 {
				return nil
			}
			var c schemas.Cart
			if err := stored.FindOne(t.Context(), bson.D{{Key: "_id", Value: user}}).Decode(&c); err != nil {
				return err
			}
			return outside.Same(c, carts[user])
		})
	}
	all := stories(t, s)
	for _, user := range users {
		st := all[user]
		if st == nil {
			if carts[user].Version > 0 {
				t.Errorf("Kafka has nothing of %s, who is at version %d", user, carts[user].Version)
			}
			continue
		}
		if err := outside.Same(st.cart, carts[user]); err != nil {
			t.Errorf("Kafka's events of %s end differently: %v", user, err)
		}
	}
	eventually(t, "cart.state.v1", func() error {
		newest := states(t, s)
		for _, user := range users {
			if carts[user].Version == 0 {
				continue
			}
			if err := outside.Same(newest[user], carts[user]); err != nil {
				return fmt.Errorf("%s: %w", user, err)
			}
		}
		return nil
	})
	return all
}
