package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

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
	stop  func() // that instance
	log   logged // its
	epoch int64
}

func setupTail(t *testing.T) *tailed {
	t.Helper()
	return setupTailOn(t, enginetest.Redis(t))
}

func setupTailOn(t *testing.T, addr string) *tailed {
	t.Helper()
	return setupTailWith(t, setupOn(t, addr))
}

func setupTailWith(t *testing.T, e *engines) *tailed {
	t.Helper()
	d := &tailed{engines: e}
	d.create(t)
	d.store = d.open(t, 8)
	first := d.open(t, 8)
	d.first = first
	c := d.config(t, first, "zero")
	c.Log = d.log.logger()
	d.stop, _ = d.start(t, c)
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

// refused says that a user's shard is recovering. As for served.
func (d *tailed) refused(t *testing.T, user string) func() error {
	return func() error {
		look(t, d.first)
		_, err := d.store.Get(t.Context(), user)
		var u *cart.Unavailable
		if !errors.As(err, &u) || !u.Recovering || u.RetryAfter <= 0 {
			return fmt.Errorf("%w, want unavailable and recovering", err)
		}
		return nil
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
	// Redis loses it: the cart, the outbox entry and the kept answer, and how far it was, so that all of the log is read.
	for _, pattern := range []string{"*:c:u1", "*:k:*", "*:o", "*:e"} {
		if err := d.redis.Del(t.Context(), d.keysOf(t, pattern)...).Err(); err != nil {
			t.Fatal(err)
		}
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
	if err := d.redis.Del(t.Context(), d.keysOf(t, "*:c:u1")...).Err(); err != nil {
		t.Fatal(err)
	}
	d.forgets(t)
	eventually(t, "u1's cart without what stands before the offset", d.served(t, "u1", 0))
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
	changed, err := d.store.Changed(t.Context(), d.store.ShardOf("u1"), time.Now().Add(2*time.Minute), 10)
	if err != nil || !slices.Contains(changed, "u1") {
		t.Errorf("%v are known as changed (%v), want u1 among them: its copy may have more", changed, err)
	}
}

func TestShardsAreServedBeforeTheWholeTailIsRead(t *testing.T) {
	d := setupTail(t)
	first, last := d.userOf(0), d.userOf(partitions-1)
	for _, user := range []string{first, last} {
		if _, err := d.store.Add(t.Context(), cart.Request{User: user}, "emma", 1); err != nil {
			t.Fatal(err)
		}
		d.produce(t, d.change(user, 1, schemas.ItemAdded, 1), "", "")
		d.produce(t, d.change(user, 2, schemas.ItemSet, 2), "", "")
	}
	unreadable := d.keysOf(t, "*:c:"+last)[0] // so that no recovery gets past it
	if err := errors.Join(d.redis.Del(t.Context(), unreadable).Err(), d.redis.Set(t.Context(), unreadable, "no hash", 0).Err()); err != nil {
		t.Fatal(err)
	}
	d.forgets(t)
	eventually(t, "a cart of the first partition", d.served(t, first, 2))
	eventually(t, "a refusal of one in the last", d.refused(t, last))
	if err := d.redis.Del(t.Context(), unreadable).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "that one", d.served(t, last, 2))
}

// userOf returns a user whose changes stand in the partition.
func (d *tailed) userOf(partition int) string {
	for n := 4; ; n++ {
		if user := fmt.Sprintf("u%d", n); d.store.ShardOf(user)%partitions == partition {
			return user
		}
	}
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
			d.toKafka.set(true)
			d.forgets(t)
			eventually(t, "a refusal", d.refused(t, "u1"))
			eventually(t, "a word of it", d.log.says(`msg="recovery will be tried again"`))
			eventually(t, "a refusal still", d.refused(t, "u1"))
			if accept {
				c := d.config(t, d.open(t, 8), "operator")
				c.AcceptLoss = true
				given, err := recovery.New(c).Accept(t.Context())
				if err != nil || len(given) != 8 || given[0].Lost {
					t.Fatalf("%+v, %v; want all 8 shards", given, err)
				}
				eventually(t, "a cart without its tail", served(d.store, "u1", 2))
				return
			}
			d.toKafka.set(false)
			eventually(t, "the cart with its tail", d.served(t, "u1", 3))
		})
	}
}

func TestATailIsNotGivenUpWhenTimeIsUp(t *testing.T) {
	d := setupTail(t)
	d.produce(t, d.change("u1", 3, schemas.ItemSet, 7), "", "")
	d.stop()
	d.forgets(t)
	c := d.config(t, d.open(t, 8), "operator")
	c.AcceptLoss = true
	// Kafka tells what there is to read, and reading it takes longer than the operator's command may, though less than what
	// counts as silence.
	c.Options = append(c.Options, kgo.Dialer(func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if given, err := recovery.New(c).Accept(ctx); err == nil || len(given) > 0 {
		t.Errorf("%+v, %v; want an error and nothing given up", given, err)
	}
	d.run(t, d.open(t, 8), "another")
	eventually(t, "the cart with its tail", d.served(t, "u1", 3))
}
