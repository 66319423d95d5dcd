package blackbox

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/deploy/outside"
	"cartstream/schemas"
)

// Redis lost these changes while they were on their way to Kafka, and they came there after recovery had read the log. Their
// users do nothing more, and reconciliation is minutes or a night away.
func TestAChangeThatRedisLacksIsTakenUpWithinSeconds(t *testing.T) {
	s := start(t, options{apis: 1, consumers: 2, env: []string{"RECONCILE_EVERY=24h"}})
	book := createBooks(t, s, func(int) string { return "Emma" }, 1)[0]
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	first, err := insist(t.Context(), s, "known", setItem(book, 1))
	if err != nil {
		t.Fatal(err)
	}
	settled(t, s, []string{"known"}, nil)
	users := []string{"known", "unknown"}
	var devices []*outside.Device
	for _, user := range users {
		devices = append(devices, follow(t, user, s.apis[0].addr))
		late := first
		late.UserID, late.Version, late.Whole, late.OccurredAt = user, 1, true, schemas.At(time.Now())
		if user == "known" {
			late.Type, late.Version, late.Whole = schemas.ItemSet, 2, false
		}
		late.Items = []schemas.Line{first.Items[0]}
		late.Items[0].Quantity, late.Items[0].LineTotal = 5, 5*late.Items[0].UnitPrice
		late.Totals = schemas.Sum(late.Items)
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: schemas.CartEvents, Key: []byte(user), Value: schemas.EncodeCartChanged(late)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for _, user := range users {
		eventually(t, "the cart of "+user, func() error {
			c, err := getCart(t.Context(), s.apis[0].addr, user)
			if err == nil && c.TotalQuantity != 5 {
				err = fmt.Errorf("%s", schemas.EncodeCart(c))
			}
			return err
		})
	}
	all := settled(t, s, users, devices)
	for _, user := range users {
		if last := all[user].changes[len(all[user].changes)-1]; last.Type != schemas.Restored {
			t.Errorf("the last change of %s is %s, want %s", user, last.Type, schemas.Restored)
		}
	}
}
