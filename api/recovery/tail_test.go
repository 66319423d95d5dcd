package recovery_test

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/api/cart"
	"cartstream/api/recovery"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// In these tests Kafka holds changes that Redis doesn't have, as after a restart without its last writes.

const partitions = 4

var emma = schemas.Book{BookID: "emma", Title: "Emma", UnitPrice: 1299, Currency: "EUR", Stock: 9, Status: schemas.Available, Version: 1}

// tailed is a deployment in which u1 added emma twice, and Kafka has those two changes.
type tailed struct {
	*engines
	first *cart.Store // of the instance that recovers
	store *cart.Store
	redis *redis.Client
	epoch int64
}

func setupTail(t *testing.T) *tailed {
	t.Helper()
	d := &tailed{engines: setup(t)}
	if _, err := kadm.NewClient(d.kafka).CreateTopic(t.Context(), partitions, 1, nil, d.topic); err != nil {
		t.Fatal(err)
	}
	d.store = d.open(t, 8)
	d.redis = redis.NewClient(&redis.Options{Addr: d.engines.redis})
	t.Cleanup(func() { _ = d.redis.Close() })
	first := d.open(t, 8)
	d.first = first
	d.run(t, first, "zero")
	eventually(t, "every shard", func() error {
		for shard := range first.Shards() {
			if _, err := first.Learn(t.Context(), shard, []schemas.Book{emma}); err != nil {
				return err
			}
		}
		for _, user := range []string{"u1", "u2", "u3"} { // their shards are ready, not just open
			if _, err := d.store.Get(t.Context(), user); err != nil {
				return err
			}
		}
		return nil
	})
	for n := range 2 {
		r, err := d.store.Add(t.Context(), cart.Request{User: "u1"}, "emma", 1)
		if err != nil {
			t.Fatal(err)
		}
		d.epoch = r.Change.Epoch
		d.produce(t, r.Change, "", "")
		if n == 1 {
			d.relayedTo(t, 1)
		}
	}
	return d
}

// served says that a user's cart is served at that version. The instance that recovers hears of what is wrong from its
// heartbeats.
func (d *tailed) served(t *testing.T, user string, version int64) func() error {
	ask := served(d.store, user, version)
	return func() error {
		look(t, d.first)
		return ask()
	}
}

// relayedTo notes in u1's shard that it holds all up to that offset, as the relay's heartbeat does.
func (d *tailed) relayedTo(t *testing.T, offset int64) {
	t.Helper()
	wishes := make([]schemas.ShardWish, d.store.Shards())
	for i := range wishes {
		wishes[i].Offset = -1
	}
	wishes[d.store.ShardOf("u1")] = schemas.ShardWish{Lease: true, Offset: offset}
	if _, err := d.store.Beat(t.Context(), "relay", time.Minute, wishes); err != nil {
		t.Fatal(err)
	}
}

func (d *tailed) produce(t *testing.T, c schemas.CartChanged, key, request string) {
	t.Helper()
	record := &kgo.Record{Topic: d.topic, Key: []byte(c.UserID), Value: schemas.EncodeCartChanged(c)}
	if key != "" {
		record.Headers = []kgo.RecordHeader{{Key: schemas.HeaderIdempotency, Value: []byte(key)}, {Key: schemas.HeaderRequest, Value: []byte(request)}}
	}
	if err := d.kafka.ProduceSync(t.Context(), record).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// change is what u1's cart would have done next.
func (d *tailed) change(user string, version int64, kind schemas.EventType, quantity int64) schemas.CartChanged {
	line := schemas.Line{BookID: "emma", Title: "Emma", UnitPrice: 1299, Quantity: quantity, LineTotal: quantity * 1299, Availability: schemas.Available}
	c := schemas.CartChanged{UserID: user, Epoch: d.epoch, Version: version, Type: kind, Whole: version == 1, Items: []schemas.Line{line},
		Currency: "EUR", OccurredAt: schemas.At(time.Now())}
	if quantity > 0 {
		c.Totals = schemas.Sum(c.Items)
	}
	return c
}

// forgets makes the server forget its scripts, as a restart does.
func (d *tailed) forgets(t *testing.T) {
	t.Helper()
	if err := d.redis.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
}

func TestWhatOnlyKafkaHasComesBack(t *testing.T) {
	d := setupTail(t)
	d.produce(t, d.change("u1", 3, schemas.ItemSet, 7), "", "")
	last := d.change("u1", 4, schemas.ItemSet, 5)
	d.produce(t, last, "", "")
	d.produce(t, d.change("u2", 1, schemas.ItemAdded, 2), "", "")
	book := d.change("u1", 5, schemas.BookChangedInCart, 5)
	book.Items[0].UnitPrice, book.Items[0].LineTotal = 1199, 5*1199
	seen := int64(1299)
	book.Items[0].PreviousUnitPrice, book.TotalAmount = &seen, 5*1199
	d.produce(t, book, "", "")
	d.forgets(t)
	eventually(t, "u1's cart", d.served(t, "u1", 5))
	eventually(t, "u2's cart", d.served(t, "u2", 1))

	c, err := d.store.Contact(t.Context(), "u1")
	if err != nil {
		t.Fatal(err)
	}
	if c.Cart.Epoch != d.epoch || len(c.Cart.Items) != 1 || c.Cart.Items[0].Quantity != 5 || c.Cart.Items[0].UnitPrice != 1199 ||
		*c.Cart.Items[0].PreviousUnitPrice != 1299 || c.Cart.Totals != book.Totals {
		t.Errorf("the cart is %+v, want what Kafka has", c.Cart)
	}
	if c.Epoch != last.Epoch || c.Version != 4 || c.At != last.OccurredAt {
		t.Errorf("the user's own last change is %+v, want version 4", c)
	}
	shard := d.store.ShardOf("u2")
	changed, err := d.store.Changed(t.Context(), shard, time.Now().Add(2*time.Minute), 10)
	if err != nil || len(changed) == 0 {
		t.Errorf("%v are known as changed (%v), want u2 among them", changed, err)
	}
	w, err := d.store.Walks(t.Context(), shard, 10)
	if err != nil || w.Refresh == "" {
		t.Errorf("%+v, %v: nobody is asked to compare the shard's books with the catalogue", w, err)
	}
	next, err := d.store.Add(t.Context(), cart.Request{User: "u1"}, "emma", 1)
	if err != nil || next.Change.Version != 6 || next.Change.Epoch <= d.epoch || !next.Change.Whole || next.Change.Items[0].Quantity != 6 {
		t.Errorf("the next change is %+v (%v), want version 6 of a higher epoch", next.Change, err)
	}
}

func TestARepeatAfterALossGetsItsFirstAnswer(t *testing.T) {
	d := setupTail(t)
	r := cart.Request{User: "u1", Key: "order-1"}
	first, err := d.store.Set(t.Context(), r, "emma", 8)
	if err != nil {
		t.Fatal(err)
	}
	entries := d.outbox(t)
	d.produce(t, first.Change, entries[schemas.HeaderIdempotency], entries[schemas.HeaderRequest])
	// Redis loses it: the cart, the outbox entry and the kept answer.
	shard := d.store.ShardOf("u1")
	for _, pattern := range []string{"*:c:u1", "*:k:*", "*:o"} {
		keys, err := d.redis.Keys(t.Context(), pattern).Result()
		if err != nil || len(keys) == 0 {
			t.Fatalf("%v, %v", keys, err)
		}
		if err := d.redis.Del(t.Context(), keys...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	tails, err := d.redis.Keys(t.Context(), "*:e").Result()
	if err != nil || len(tails) != 1 {
		t.Fatalf("%v of shard %d, %v", tails, shard, err)
	}
	if err := d.redis.Del(t.Context(), tails...).Err(); err != nil { // all of the log is read then
		t.Fatal(err)
	}
	d.forgets(t)
	eventually(t, "u1's cart", d.served(t, "u1", 3))
	again, err := d.store.Set(t.Context(), r, "emma", 8)
	if err != nil || !again.Replayed || string(schemas.EncodeCartChanged(again.Change)) != string(schemas.EncodeCartChanged(first.Change)) {
		t.Errorf("%+v, %v; want the first answer %+v", again, err, first.Change)
	}
	if _, err := d.store.Set(t.Context(), r, "emma", 9); !errors.Is(err, cart.ErrKeyReused) {
		t.Errorf("another request under the key: %v", err)
	}
}

// outbox returns the headers of the newest entry in u1's outbox.
func (d *tailed) outbox(t *testing.T) map[string]string {
	t.Helper()
	batches, err := d.store.ReadOutbox(t.Context(), []schemas.OutboxCursor{{Shard: d.store.ShardOf("u1")}}, 0, 1000)
	if err != nil || batches[0].Err != nil || len(batches[0].Entries) == 0 {
		t.Fatalf("%+v, %v", batches, err)
	}
	headers := map[string]string{}
	for _, h := range batches[0].Entries[len(batches[0].Entries)-1].Headers {
		headers[h.Key] = h.Value
	}
	return headers
}

func TestWhatAShardIsKnownToHoldIsNotReadAgain(t *testing.T) {
	d := setupTail(t)
	// No shard could hold less than it once was known to hold. This one does, so what it holds tells what was read.
	if err := d.redis.Del(t.Context(), d.cartKey(t)).Err(); err != nil {
		t.Fatal(err)
	}
	d.forgets(t)
	eventually(t, "u1's cart without what stands before the offset", d.served(t, "u1", 0))
}

func (d *tailed) cartKey(t *testing.T) string {
	t.Helper()
	keys, err := d.redis.Keys(t.Context(), "*:c:u1").Result()
	if err != nil || len(keys) != 1 {
		t.Fatalf("%v, %v", keys, err)
	}
	return keys[0]
}

func TestRecordsOfTheTailThatAreNoChangesAreLeftOut(t *testing.T) {
	d := setupTail(t)
	for _, value := range []string{"{", `{"userId":"somebody else","epoch":1,"version":1,"type":"cleared"}`} {
		if err := d.kafka.ProduceSync(t.Context(), &kgo.Record{Topic: d.topic, Key: []byte("u1"), Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	d.produce(t, d.change("u1", 5, schemas.ItemSet, 5), "", "") // 3 and 4 are missing
	d.produce(t, d.change("u3", 1, schemas.ItemAdded, 2), "", "")
	d.forgets(t)
	eventually(t, "the cart as far as it can be brought", d.served(t, "u1", 2))
	eventually(t, "another cart of the tail", d.served(t, "u3", 1))
}

func TestAnEpochInKafkaIsNeverReached(t *testing.T) {
	d := setupTail(t)
	ahead := d.change("u1", 3, schemas.ItemSet, 7)
	ahead.Epoch, ahead.Whole = time.Now().Add(24*time.Hour).UnixMilli(), true // a clock that went back since
	d.produce(t, ahead, "", "")
	d.forgets(t)
	eventually(t, "u1's cart", d.served(t, "u1", 3))
	if v, err := d.store.Get(t.Context(), "u1"); err != nil || v.Epoch != ahead.Epoch || v.Generation <= ahead.Epoch {
		t.Errorf("%+v, %v; want epoch %d under a higher generation", v, err, ahead.Epoch)
	}
}

func TestShardsWaitForAKafkaThatIsAway(t *testing.T) {
	for claim, accept := range map[string]bool{"until it is back": false, "unless an operator accepts the loss": true} {
		t.Run(claim, func(t *testing.T) {
			d := setupTail(t)
			d.produce(t, d.change("u1", 3, schemas.ItemSet, 7), "", "")
			away, err := kgo.NewClient(kgo.SeedBrokers("127.0.0.1:1"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(away.Close)
			// The instance that runs reaches Kafka, so this server is one of its own.
			d.engines.redis = enginetest.Redis(t)
			s := d.open(t, 8)
			for _, n := range s.Nodes(t.Context()) {
				for _, shard := range n.Shards {
					g := cart.NewGeneration(1)
					if err := n.Swap(t.Context(), shard, cart.Generation{}, cart.Absent, g, cart.Ready); err != nil {
						t.Fatal(err)
					}
				}
				_ = n.Close()
			}
			unreached := recovery.Config{Instance: "one", Kafka: kadm.NewClient(away), Options: []kgo.Opt{kgo.SeedBrokers("127.0.0.1:1")}}
			d.runWith(t, s, unreached)
			eventually(t, "a refusal", func() error {
				_, err := s.Get(t.Context(), "u1")
				var u *cart.Unavailable
				if !errors.As(err, &u) || !u.Recovering {
					return fmt.Errorf("%w, want unavailable and recovering", err)
				}
				return nil
			})
			if accept {
				unreached.Store, unreached.Carts, unreached.Topic, unreached.AcceptLoss, unreached.Instance = d.open(t, 8), d.carts, d.topic, true, "operator"
				unreached.Log = slog.New(slog.DiscardHandler)
				given, err := recovery.New(unreached).Accept(t.Context())
				if err != nil || len(given) != 8 || given[0].Lost {
					t.Fatalf("%+v, %v; want all 8 shards", given, err)
				}
				eventually(t, "a cart without its tail", served(s, "u1", 0))
				return
			}
			back := d.open(t, 8) // an instance that reaches Kafka
			d.runWith(t, back, recovery.Config{Instance: "two", Kafka: kadm.NewClient(d.kafka), Options: []kgo.Opt{kgo.SeedBrokers(d.kafka.OptValue(kgo.SeedBrokers).([]string)...)}})
			eventually(t, "the cart with its tail", served(back, "u1", 3))
		})
	}
}
