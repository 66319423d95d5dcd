package blackbox

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/deploy/enginetest"
	"cartstream/deploy/outside"
	"cartstream/schemas"
)

// Kafka and all of Redis's data are gone at the same moment, and with them a change that only they had. Nothing is opened
// until an operator says so; the command names each shard that may lack something.
func TestALossIsAcceptedByCommandAlone(t *testing.T) {
	redis, kafka := enginetest.EmbeddedRedis(t), enginetest.EmbeddedKafka(t)
	s := start(t, options{apis: 2, consumers: 1, redis: redis.Addr, brokers: kafka.Addr})
	book := createBooks(t, s, func(int) string { return "Emma" }, 1)[0]
	add := func(user string) (answer, error) {
		return send(t.Context(), s.apis[0].addr, token(user, ""), addItem(book, 1))
	}
	must := func(a answer, err error) schemas.CartChanged {
		t.Helper()
		var change schemas.CartChanged
		if err == nil {
			err = json.Unmarshal(a.body, &change)
		}
		if err != nil || a.status != http.StatusOK {
			t.Fatalf("%d %s, %v", a.status, a.body, err)
		}
		return change
	}
	kept := must(add("kept"))
	eventually(t, "the cart is stored", func() error {
		return collection(t, s).FindOne(t.Context(), bson.D{{Key: "_id", Value: "kept"}}).Err()
	})

	kafka.Kill()
	must(add("kept"))
	must(add("new"))
	redis.Kill() // keeps nothing
	redis.Start()
	for _, p := range s.apis {
		eventually(t, p.name+" serves no cart", func() error {
			a, err := send(t.Context(), p.addr, "", call{method: "GET", path: "/readyz"})
			if err == nil && a.status != http.StatusServiceUnavailable {
				err = fmt.Errorf("%d %s", a.status, a.body)
			}
			return err
		})
	}
	if a, err := add("kept"); err != nil || a.status != http.StatusServiceUnavailable {
		t.Errorf("an add while nothing is opened: %d %s, %v", a.status, a.body, err)
	} else if slug, applied := a.problem(); slug != "unavailable" || applied != "no" {
		t.Errorf("an add while nothing is opened: %s", a.body)
	}

	said := acceptLoss(t, s)
	if n := strings.Count(said, "its carts are those that MongoDB holds; later changes are given up"); n != 128 || !strings.Contains(said, "shard 127 ") {
		t.Errorf("the command names %d lost shards: %s", n, said)
	}
	for _, p := range s.apis {
		eventually(t, "carts are served by "+p.name, func() error {
			c, err := getCart(t.Context(), p.addr, "kept")
			if err == nil && (c.Version != kept.Version || len(c.Items) != 1 || c.Items[0].Quantity != 1 || c.Epoch <= kept.Epoch) {
				t.Errorf("the cart as it was stored is %d.1, served is %+v", kept.Epoch, c)
			}
			return err
		})
	}
	if c, err := getCart(t.Context(), s.apis[0].addr, "new"); err != nil || c.Version != 0 {
		t.Errorf("what nothing has any more: %+v, %v", c, err)
	}
	change := must(add("kept"))
	if change.Version != kept.Version+1 || change.Items[0].Quantity != 2 || !change.Whole {
		t.Errorf("the next change: %+v", change)
	}
	if said := acceptLoss(t, s); !strings.Contains(said, "nothing is given up") {
		t.Errorf("the command once more: %s", said)
	}

	kafka.Start()
	cart, err := getCart(t.Context(), s.apis[0].addr, "kept")
	if err != nil || cart.Version != change.Version {
		t.Errorf("%+v, %v", cart, err)
	}
	eventually(t, "what became of the cart is stored", func() error {
		var c schemas.Cart
		if err := collection(t, s).FindOne(t.Context(), bson.D{{Key: "_id", Value: "kept"}}).Decode(&c); err != nil {
			return err
		}
		return outside.Same(c, cart)
	})
	eventually(t, "and in cart.state.v1", func() error { return outside.Same(states(t, s)["kept"], cart) })
}

// acceptLoss runs the command beside the instances, and returns what it prints.
func acceptLoss(t *testing.T, s *stack) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.apis[0].path, "recover", "--accept-loss")
	cmd.Env = s.apis[0].env
	dieWithParent(cmd)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("api recover --accept-loss: %v: %s", err, out)
	}
	return string(out)
}
