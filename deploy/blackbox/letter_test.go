package blackbox

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/deploy/outside"
	"cartstream/schemas"
)

// letter is what the test reads of a dead letter.
type letter struct {
	ID, Group, UserID, Class, Status, Verdict string
	Attempts                                  int
}

// ops makes a call of the ops API and reads its answer.
func (p *process) ops(method, path, body string, into any) (status int, err error) {
	p.t.Helper()
	a, err := send(p.t.Context(), p.addr, token("boss", "admin"), call{method: method, path: path, body: body})
	if err == nil {
		err = json.Unmarshal(a.body, into)
	}
	return a.status, err
}

func (p *process) letters(query string) (found []letter, err error) {
	p.t.Helper()
	var page struct{ Items []letter }
	status, err := p.ops("GET", "/admin/dead-letters?limit=100&"+query, "", &page)
	if err == nil && status != 200 {
		err = fmt.Errorf("status %d", status)
	}
	return page.Items, err
}

// Two records that nobody can read are planted among a user's changes: one is a change that got garbled, of the other
// nothing is known. Neither holds up anybody; the first resolves itself, the second until an operator has had enough of it.
func TestPoisonHoldsUpNobodyAndIsSettledByHand(t *testing.T) {
	s := start(t, options{apis: 1, consumers: 2})
	book := createBooks(t, s, func(int) string { return "Emma" }, 1)[0]
	change := func(user string, quantity int64) {
		t.Helper()
		if _, err := insist(t.Context(), s, user, setItem(book, quantity)); err != nil {
			t.Fatal(err)
		}
	}
	change("garbled", 1)
	change("unknown", 1)

	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	plant := func(r *kgo.Record) {
		t.Helper()
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	var original *kgo.Record
	eventually(t, "the change is in Kafka", func() error {
		for _, r := range readTopic(t, s.brokers, schemas.CartEvents) {
			if string(r.Key) == "garbled" {
				original = r
				return nil
			}
		}
		return fmt.Errorf("not yet")
	})
	plant(&kgo.Record{Topic: schemas.CartEvents, Key: original.Key, Value: original.Value[:20], Headers: original.Headers})
	plant(&kgo.Record{Topic: schemas.CartEvents, Key: []byte("unknown"), Value: []byte("poison")})
	for quantity := range int64(5) {
		change("garbled", quantity+2)
		change("unknown", quantity+2)
		change("bystander", quantity+2)
	}
	for _, user := range []string{"garbled", "unknown", "bystander"} {
		cart, err := getCart(t.Context(), s.apis[0].addr, user)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "MongoDB's cart of "+user, func() error {
			var c schemas.Cart
			if err := collection(t, s).FindOne(t.Context(), bson.D{{Key: "_id", Value: user}}).Decode(&c); err != nil {
				return err
			}
			return outside.Same(c, cart)
		})
		eventually(t, "cart.state.v1 of "+user, func() error { return outside.Same(states(t, s)[user], cart) })
	}

	var parked []letter
	for _, p := range s.consumers {
		eventually(t, "the letters at "+p.name, func() error {
			resolved, err := p.letters("status=superseded&userId=garbled")
			if err != nil || len(resolved) != 3 {
				return fmt.Errorf("superseded are %+v, %w", resolved, err)
			}
			parked, err = p.letters("status=parked")
			if err != nil || len(parked) != 3 {
				return fmt.Errorf("parked are %+v, %w", parked, err)
			}
			return nil
		})
	}
	groups := map[string]bool{}
	for _, l := range parked {
		groups[l.Group] = true
		if l.UserID != "unknown" || l.Class != "undecodable" || l.Verdict != "undecodable" || l.Attempts != 1 {
			t.Errorf("parked %+v", l)
		}
		status, err := s.consumers[0].ops("POST", "/admin/dead-letters/"+l.ID+"/replay", "", &l)
		if err != nil || status != 202 {
			t.Errorf("replay of %+v: %d, %v", l, status, err)
		}
		eventually(t, "it failed again, wherever that was tried", func() error {
			_, err := s.consumers[1].ops("GET", "/admin/dead-letters/"+l.ID, "", &l)
			if err == nil && (l.Attempts != 2 || l.Status != "parked") {
				err = fmt.Errorf("letter %+v", l)
			}
			return err
		})
		status, err = s.consumers[1].ops("POST", "/admin/dead-letters/"+l.ID+"/discard", `{"reason":"planted"}`, &l)
		if err != nil || status != 200 || l.Status != "discarded" {
			t.Errorf("discard of %+v: %d, %v", l, status, err)
		}
	}
	if !groups["persist"] || !groups["push"] || !groups["state"] {
		t.Errorf("groups %v", groups)
	}
	if left, err := s.consumers[0].letters("status=parked"); err != nil || len(left) > 0 {
		t.Errorf("parked are %+v, %v", left, err)
	}
}
