package recovery_test

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// In these tests a change that Redis lost was on its way to Kafka while the shard recovered: it arrives after the tail was
// read.

// recovered is setupTail after a recovery that found nothing in Kafka. It returns what was on its way then, u1's version 3.
func recovered(t *testing.T) (*tailed, schemas.CartChanged) {
	t.Helper()
	d := setupTail(t)
	late := d.change("u1", 3, schemas.ItemSet, 7)
	d.recover(t)
	return d, late
}

// recover makes the server forget and waits until it is opened again.
func (d *tailed) recover(t *testing.T) {
	t.Helper()
	before, err := d.store.Get(t.Context(), "u1")
	if err != nil {
		t.Fatal(err)
	}
	d.forgets(t)
	eventually(t, "another generation", func() error {
		look(t, d.first)
		v, err := d.store.Get(t.Context(), "u1")
		if err == nil && v.Generation == before.Generation {
			err = errors.New("the same")
		}
		return err
	})
}

func TestALateChangeOfADeadGenerationCannotBeMistakenForWhatFollowed(t *testing.T) {
	d, late := recovered(t)
	if _, err := d.store.Learn(t.Context(), d.store.ShardOf("u1"), []schemas.Book{emma}); err != nil {
		t.Fatal(err)
	}
	r, err := d.store.Set(t.Context(), cart.Request{User: "u1"}, "emma", 4)
	if err != nil || r.Change.Version != late.Version || r.Change.Epoch <= late.Epoch || !r.Change.Whole {
		t.Fatalf("%+v (%v), want version 3 of a higher epoch, whole", r.Change, err)
	}
	for claim, changes := range map[string][]schemas.CartChanged{
		"before it": {late, r.Change}, "after it": {r.Change, late}, "before and after it": {late, r.Change, late},
	} {
		c := schemas.Cart{UserID: "u1", Epoch: d.epoch, Version: 2}
		for _, change := range changes {
			c.Apply(change)
		}
		if c.Epoch != r.Change.Epoch || c.Version != 3 || len(c.Items) != 1 || c.Items[0].Quantity != 4 {
			t.Errorf("who applies it %s ends at %+v, want Redis's", claim, c)
		}
	}
	d.produce(t, r.Change, "", "")
	d.produce(t, late, "", "")
	d.recover(t)
	if v, err := d.store.Get(t.Context(), "u1"); err != nil || v.Version != 3 || v.Epoch != r.Change.Epoch || v.Items[0].Quantity != 4 {
		t.Errorf("recovery, which reads both, makes it %+v (%v), want it as it was", v, err)
	}
	contents := map[[2]int64]string{}
	for _, c := range d.history(t) {
		key := [2]int64{c.Epoch, c.Version}
		if held, ok := contents[key]; ok && held != string(schemas.EncodeCartChanged(c)) {
			t.Errorf("%v has two contents", key)
		}
		contents[key] = string(schemas.EncodeCartChanged(c))
	}
	if len(contents) != 4 {
		t.Errorf("%d versions in Kafka, want 1, 2 and two times 3", len(contents))
	}
}

func TestALateChangeOfADeadGenerationIsFoundByTheNextRecovery(t *testing.T) {
	d, late := recovered(t)
	d.produce(t, late, "", "")
	d.forgets(t)
	eventually(t, "the cart", d.served(t, "u1", 3))
}

// history returns every change of u1 in Kafka.
func (d *tailed) history(t *testing.T) (changes []schemas.CartChanged) {
	t.Helper()
	p := d.partition("u1")
	ends, err := d.admin.ListEndOffsets(t.Context(), d.topic)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(d.brokers), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{d.topic: {p: kgo.NewOffset().AtStart()}}))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	end, _ := ends.Lookup(d.topic, p)
	for next := int64(0); next < end.Offset; {
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			next = r.Offset + 1
			c, err := schemas.DecodeCartChanged(r.Value)
			if err != nil {
				t.Fatal(err)
			}
			if c.UserID == "u1" {
				changes = append(changes, c)
			}
		}
	}
	return changes
}
