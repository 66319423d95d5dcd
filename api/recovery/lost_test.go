package recovery_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/api/cart"
	"cartstream/api/recovery"
	"cartstream/schemas"
)

// In these tests Redis lost everything, and persist doesn't run: MongoDB has what it had stored until then.

// setupLost is setupTail after which u1's version 2 is in MongoDB, and nothing is in Redis.
func setupLost(t *testing.T) *tailed {
	t.Helper()
	d := setupTail(t)
	d.keep(t, "u1", d.epoch, 2)
	d.committed(t, d.partition("u1"), 2)
	return d
}

func (d *tailed) partition(user string) int32 { return int32(schemas.Partition(user, partitions)) }

func TestALostCartComesBackThoughPersistDoesNotRun(t *testing.T) {
	for claim, c := range map[string]struct {
		change func(t *testing.T, d *tailed)
		user   string
		want   int64 // version, and how many of emma
	}{
		"where MongoDB has all of it": {func(*testing.T, *tailed) {}, "u1", 2},
		"where MongoDB lacks its last changes": {func(t *testing.T, d *tailed) {
			d.produce(t, d.change("u1", 3, schemas.ItemSet, 7), "", "")
			d.produce(t, d.change("u1", 4, schemas.ItemSet, 4), "", "")
		}, "u1", 4},
		"where MongoDB never had it": {func(t *testing.T, d *tailed) {
			d.produce(t, d.change("u2", 1, schemas.ItemAdded, 1), "", "")
			d.produce(t, d.change("u2", 2, schemas.ItemSet, 2), "", "")
		}, "u2", 2},
		"where persist stored more than it said": {func(t *testing.T, d *tailed) {
			d.produce(t, d.change("u3", 1, schemas.ItemAdded, 1), "", "")
			d.produce(t, d.change("u3", 2, schemas.ItemSet, 2), "", "")
			d.produce(t, d.change("u3", 3, schemas.ItemSet, 3), "", "")
			d.keep(t, "u3", d.epoch, 2)
		}, "u3", 3},
	} {
		t.Run(claim, func(t *testing.T) {
			d := setupLost(t)
			c.change(t, d)
			d.loses(t)
			eventually(t, "the cart", d.served(t, c.user, c.want))
			v, err := d.store.Get(t.Context(), c.user)
			if err != nil || v.Epoch != d.epoch || len(v.Items) != 1 || v.Items[0].Quantity != c.want || v.Totals != schemas.Sum(v.Items) {
				t.Errorf("%+v, %v; want %d of emma under epoch %d", v, err, c.want, d.epoch)
			}
			if outboxes, err := d.redis.Keys(t.Context(), "*:o").Result(); len(outboxes) > 0 || err != nil {
				t.Errorf("something was emitted into %v (%v)", outboxes, err)
			}
			if _, err := d.store.Learn(t.Context(), d.store.ShardOf(c.user), []schemas.Book{emma}); err != nil {
				t.Fatal(err)
			}
			next, err := d.store.Set(t.Context(), cart.Request{User: c.user}, "emma", 9)
			if err != nil || next.Change.Version != c.want+1 || next.Change.Epoch <= d.epoch || !next.Change.Whole {
				t.Errorf("the next change is %+v (%v), want a whole cart of a higher epoch", next.Change, err)
			}
		})
	}
}

func TestOfALostShardKafkaIsReadFromWherePersistStoredIt(t *testing.T) {
	d := setupLost(t)
	// MongoDB could not lack what persist has stored. Here it does, so what comes back tells what was read.
	d.produce(t, d.change("u2", 1, schemas.ItemAdded, 1), "", "")
	ends, err := d.admin.ListEndOffsets(t.Context(), d.topic)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(d.topic, d.partition("u2"))
	d.committed(t, d.partition("u2"), end.Offset)
	d.produce(t, d.change("u3", 1, schemas.ItemAdded, 1), "", "")
	d.loses(t)
	eventually(t, "what persist has not stored", d.served(t, "u3", 1))
	eventually(t, "a cart without what persist has stored", d.served(t, "u2", 0))
}

func TestWhatALostShardKnewOfItsUsersComesBack(t *testing.T) {
	d := setupLost(t)
	r := cart.Request{User: "u1", Key: "order-1"}
	first, err := d.store.Set(t.Context(), r, "emma", 8)
	if err != nil {
		t.Fatal(err)
	}
	headers := d.outbox(t)
	d.produce(t, first.Change, headers[schemas.HeaderIdempotency], headers[schemas.HeaderRequest])
	d.loses(t)
	eventually(t, "the cart", d.served(t, "u1", 3))
	again, err := d.store.Set(t.Context(), r, "emma", 8)
	if err != nil || !again.Replayed || string(schemas.EncodeCartChanged(again.Change)) != string(schemas.EncodeCartChanged(first.Change)) {
		t.Errorf("a repeat: %+v, %v; want the first answer %+v", again, err, first.Change)
	}
	if _, err := d.store.Set(t.Context(), r, "emma", 9); !errors.Is(err, cart.ErrKeyReused) {
		t.Errorf("another request under the key: %v", err)
	}
	shard := d.store.ShardOf("u1")
	eventually(t, "the whole shard", func() error { // a walk waits for that
		w, err := d.store.Walks(t.Context(), shard, 10)
		if err == nil && w.Refresh == "" {
			err = errors.New("nobody is asked to compare its books with the catalogue")
		}
		return err
	})
	known, _, err := d.store.Known(t.Context(), shard, "", 10)
	if err != nil || !slices.Contains(known, cart.KnownBook{BookID: "emma"}) {
		t.Errorf("the shard knows of %+v (%v), want emma, without facts", known, err)
	}
	if _, reminded, err := d.store.RemindIdle(t.Context(), shard, -2*time.Hour, 10); err != nil || reminded != 1 {
		t.Errorf("%d are reminded (%v), want u1", reminded, err)
	}
}

func TestALostShardWaitsForWhatItComesBackFrom(t *testing.T) {
	for claim, c := range map[string]struct {
		away func(*engines) *gate
	}{
		"Kafka":   {away: func(e *engines) *gate { return e.toKafka }},
		"MongoDB": {away: func(e *engines) *gate { return e.toMongo }},
	} {
		t.Run(claim, func(t *testing.T) {
			d := setupLost(t)
			d.produce(t, d.change("u1", 3, schemas.ItemSet, 3), "", "")
			c.away(d.engines).set(true)
			d.loses(t)
			eventually(t, "a refusal", d.refused(t, "u1"))
			eventually(t, "a word of it", d.log.says(`msg="recovery will be tried again"`))
			eventually(t, "a refusal still", d.refused(t, "u1"))
			if ready, recovering := d.first.Count(); ready != 0 || recovering != 8 {
				t.Errorf("%d shards are ready, %d recovering", ready, recovering)
			}
			c.away(d.engines).set(false)
			eventually(t, "the cart", d.served(t, "u1", 3))
			eventually(t, "every shard", func() error {
				look(t, d.store)
				if ready, recovering := d.store.Count(); ready != 8 {
					return fmt.Errorf("%d shards are ready, %d recovering", ready, recovering)
				}
				return nil
			})
		})
	}
}

func TestAnOperatorMayGiveUpWhatOnlyKafkaHasOfALostShard(t *testing.T) {
	d := setupLost(t)
	d.produce(t, d.change("u1", 3, schemas.ItemSet, 3), "", "")
	d.stop()
	d.toKafka.set(true)
	d.loses(t)
	s := d.open(t, 8)
	c := d.config(t, s, "operator")
	c.AcceptLoss = true
	given, err := recovery.New(c).Accept(t.Context())
	if err != nil || len(given) != 8 || !given[0].Lost {
		t.Fatalf("%+v, %v; want all 8 shards", given, err)
	}
	eventually(t, "the cart as MongoDB has it", served(s, "u1", 2))
	d.toKafka.set(false)
	d.loses(t)
	again, err := recovery.New(c).Accept(t.Context())
	if err != nil || len(again) != 0 {
		t.Fatalf("%+v, %v; want nothing given up where Kafka answers", again, err)
	}
	eventually(t, "the cart as Kafka has it", served(s, "u1", 3))
}

func TestAShardThatLosesItsLastWritesBeforeItGotItsCartsBackGetsThoseToo(t *testing.T) {
	d := setupLost(t)
	key := d.keysOf(t, "*:c:u1")[0]
	held, err := d.redis.HGetAll(t.Context(), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.store.Set(t.Context(), cart.Request{User: "u1"}, "emma", 3)
	if err != nil {
		t.Fatal(err)
	}
	d.produce(t, r.Change, "", "")
	// persist has stored more than what Redis is left with.
	if _, err := d.carts.DeleteOne(t.Context(), map[string]string{"_id": "u1"}); err != nil {
		t.Fatal(err)
	}
	d.keep(t, "u1", d.epoch, 3)
	d.committed(t, d.partition("u1"), 3)
	if err := errors.Join(d.redis.Del(t.Context(), key).Err(), d.redis.HSet(t.Context(), key, held).Err()); err != nil {
		t.Fatal(err)
	}
	for _, n := range d.store.Nodes(t.Context()) {
		defer n.Close()
		shards, err := n.Inspect(t.Context())
		if err == nil {
			err = n.Swap(t.Context(), shards[0].Generation, cart.Lost, shards...)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	d.forgets(t)
	eventually(t, "the cart", d.served(t, "u1", 3))
}

func TestARecoveryThatGoesOnBeginsWhereTheOneBeforeBegan(t *testing.T) {
	d := setupLost(t)
	d.produce(t, d.change("u1", 3, schemas.ItemSet, 3), "", "")
	d.stop()
	d.loses(t)
	half := d.config(t, d.open(t, 8), "half") // it is told how far Kafka goes, and gets no record
	half.Options = []kgo.Opt{kgo.SeedBrokers("127.0.0.1:1")}
	stop, _ := d.start(t, half)
	eventually(t, "that it begins", func() error {
		keys, err := d.redis.Keys(t.Context(), "*:e").Result()
		if err == nil && len(keys) < 8 {
			err = fmt.Errorf("%d shards know where", len(keys))
		}
		return err
	})
	stop()
	// persist goes on. MongoDB would have version 3, too; it doesn't, so what comes back tells what was read.
	d.committed(t, d.partition("u1"), 3)
	d.run(t, d.open(t, 8), "next")
	eventually(t, "the cart", served(d.store, "u1", 3))
}
