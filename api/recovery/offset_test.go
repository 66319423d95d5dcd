package recovery_test

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"cartstream/api/cart"
	"cartstream/schemas"
)

func TestAShardWhoseOffsetIsNotInTheLog(t *testing.T) {
	for claim, c := range map[string]struct {
		change func(t *testing.T, d *tailed)
		want   int64
	}{
		"reads one from its beginning that ends before it": {func(t *testing.T, d *tailed) {
			d.produce(t, d.change("u1", 3, schemas.ItemSet, 7), "", "")
			d.relayedTo(t, 100)
		}, 3},
		"reads all of one where it knows none": {func(t *testing.T, d *tailed) {
			d.produce(t, d.change("u1", 3, schemas.ItemSet, 7), "", "")
			d.relayedTo(t, 2)
			if err := d.redis.Del(t.Context(), d.keysOf(t, "*:e")...).Err(); err != nil {
				t.Fatal(err)
			}
		}, 3},
		"needs nothing of one that begins and ends after it": {func(t *testing.T, d *tailed) {
			d.relayedTo(t, 0)
			var to kadm.Offsets
			to.AddOffset(d.topic, d.partition("u1"), 2, -1)
			if _, err := d.admin.DeleteRecords(t.Context(), to); err != nil {
				t.Fatal(err)
			}
		}, 2},
		"reads one from where it begins after it": {func(t *testing.T, d *tailed) {
			d.relayedTo(t, 0)
			var to kadm.Offsets
			to.AddOffset(d.topic, d.partition("u1"), 2, -1)
			if _, err := d.admin.DeleteRecords(t.Context(), to); err != nil {
				t.Fatal(err)
			}
			d.produce(t, d.change("u1", 3, schemas.ItemSet, 7), "", "")
		}, 3},
	} {
		t.Run(claim, func(t *testing.T) {
			d := setupTail(t)
			before, err := d.store.Get(t.Context(), "u1")
			if err != nil {
				t.Fatal(err)
			}
			c.change(t, d)
			d.forgets(t)
			eventually(t, "the cart", d.served(t, "u1", c.want))
			eventually(t, "under another generation", func() error {
				v, err := d.store.Get(t.Context(), "u1")
				if err == nil && v.Generation == before.Generation {
					err = errors.New("the same")
				}
				return err
			})
		})
	}
}

func TestATopicThatIsGoneIsWaitedFor(t *testing.T) {
	d := setupTail(t)
	d.drop(t)
	d.forgets(t)
	eventually(t, "a word of it", func() error {
		look(t, d.first)
		return d.log.says(" is gone, of which ")()
	})
	eventually(t, "a refusal", d.refused(t, "u1"))
	d.create(t)
	eventually(t, "the cart as Redis has it", d.served(t, "u1", 2))
}

func TestALostShardWaitsForATopicThatIsGone(t *testing.T) {
	for claim, forgotten := range map[string]bool{
		"of which persist has stored something": false,
		// With a topic, Kafka forgets how far its groups had read.
		"of which nobody knows how far persist had read": true,
	} {
		t.Run(claim, func(t *testing.T) {
			d := setupLost(t)
			d.drop(t)
			if forgotten {
				if _, err := d.admin.DeleteGroup(t.Context(), d.group); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
					t.Fatal(err)
				}
			}
			d.loses(t)
			eventually(t, "a word of it", func() error {
				look(t, d.first)
				return d.log.says(" is gone, ")()
			})
			eventually(t, "a refusal", d.refused(t, "u1"))
			if ready, recovering := d.first.Count(); ready != 0 || recovering != 8 {
				t.Errorf("%d shards are ready, %d recovering", ready, recovering)
			}
			d.create(t)
			eventually(t, "the cart as MongoDB has it", d.served(t, "u1", 2))
		})
	}
}

// drop deletes the topic.
func (d *tailed) drop(t *testing.T) {
	t.Helper()
	if _, err := d.admin.DeleteTopics(t.Context(), d.topic); err != nil {
		t.Fatal(err)
	}
	eventually(t, "that it is gone", func() error {
		topics, err := d.admin.ListTopics(t.Context(), d.topic)
		if err == nil && topics.Has(d.topic) {
			err = errors.New("it is there")
		}
		return err
	})
}

func TestWhatAnOvertakenRecoveryWritesIsRefused(t *testing.T) {
	d := setupTail(t)
	n := d.first.Nodes(t.Context())[0]
	defer n.Close()
	shard := d.store.ShardOf("u1")
	shards, err := n.Inspect(t.Context())
	if err != nil || shards[shard].State != cart.Ready {
		t.Fatalf("%+v (%v), want ready shards", shards, err)
	}
	g := shards[shard].Generation
	records, err := n.Records(t.Context(), []string{"u1"})
	if err != nil {
		t.Fatal(err)
	}
	records["u1"].Apply(d.change("u1", 3, schemas.ItemSet, 7), "", "", time.Hour)
	for claim, c := range map[string]struct {
		generation cart.Generation
		state      cart.State
	}{
		"under an older generation":     {cart.Generation{Number: g.Number - 1, Nonce: g.Nonce}, cart.Ready},
		"of another at the same number": {cart.NewGeneration(g.Number), cart.Ready},
		"once the shard is served":      {g, cart.Raising},
	} {
		t.Run(claim, func(t *testing.T) {
			for what, err := range map[string]error{
				"a cart":         n.Bring(t.Context(), c.generation, c.state, []*cart.Record{records["u1"]}),
				"what it holds":  n.Holds(t.Context(), c.generation, c.state, map[int]int64{shard: 100}),
				"where it is":    n.Opened(t.Context(), c.generation, c.state, shard),
				"that it opened": n.Swap(t.Context(), c.generation, cart.Ready, cart.ShardReport{Shard: shard, Generation: c.generation, State: c.state}),
			} {
				if !errors.Is(err, cart.ErrOvertaken) {
					t.Errorf("%s: %v, want ErrOvertaken", what, err)
				}
			}
		})
	}
	tails, err := n.Tails(t.Context(), []int{shard})
	if err != nil || tails[shard] != 1 {
		t.Errorf("it holds all up to %d (%v), want 1", tails[shard], err)
	}
	if v, err := d.store.Get(t.Context(), "u1"); err != nil || v.Version != 2 {
		t.Errorf("version %d (%v), want 2", v.Version, err)
	}
}
