package reconcile_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/api/cart"
)

// publish puts a book into the catalogue as a change at that time left it.
func (b *bundle) publish(id string, version int64, at time.Time) {
	b.t.Helper()
	raw, err := bson.Marshal(bookOf(id, version))
	must(b.t, err)
	var d bson.D
	must(b.t, bson.Unmarshal(raw, &d))
	_, err = b.db.Collection("books").DeleteOne(b.t.Context(), bson.D{{Key: "_id", Value: id}})
	must(b.t, err)
	_, err = b.db.Collection("books").InsertOne(b.t.Context(), append(d, bson.E{Key: "changedAt", Value: at}))
	must(b.t, err)
}

// knows returns which version of the book each shard knows, -1 for none.
func (b *bundle) knows(book string) (versions []int64) {
	b.t.Helper()
	for shard := range shards {
		known, _, err := b.carts.Known(b.t.Context(), shard, "", 1000)
		must(b.t, err)
		i := slices.IndexFunc(known, func(k cart.KnownBook) bool { return k.BookID == book })
		if i < 0 {
			versions = append(versions, -1)
		} else {
			versions = append(versions, known[i].Version)
		}
	}
	return versions
}

func TestShardsLearnOfBooksThatChangedSinceTheLastRun(t *testing.T) {
	b := setup(t)
	b.settled(20) // b1, b2 and b3 are held in every shard
	b.recent(20)
	b.began(time.Hour)
	now := time.Now()
	b.publish("b1", 4, now.Add(-10*time.Minute))
	b.publish("b2", 4, now.Add(-2*time.Hour)) // before the last run
	b.publish("b3", 4, now.Add(-time.Second)) // on its way
	b.recent(0)
	for book, want := range map[string]int64{"b1": 4, "b2": 1, "b3": 1} {
		if got := b.knows(book); slices.Min(got) != want || slices.Max(got) != want {
			t.Errorf("versions of %s: %v, want %d", book, got, want)
		}
	}
	if got := b.metric("cartstream_reconcile_facts_total", ""); got != shards {
		t.Errorf("%d facts were older, want one in each of %d shards", got, shards)
	}
	b.publish("b2", 5, now.Add(-10*time.Minute)) // as if it had been there, and were read again
	b.recent(0)
	if got := b.knows("b2"); slices.Max(got) != 1 {
		t.Errorf("versions of b2: %v: the second run began where the first had", got)
	}
}

// began makes the books of the last run reach back that far only.
func (b *bundle) began(ago time.Duration) {
	b.t.Helper()
	text, err := b.redis.Get(b.t.Context(), "cartstream:reconcile:recent").Bytes()
	must(b.t, err)
	var f map[string]any
	must(b.t, json.Unmarshal(text, &f))
	f["booksFrom"] = time.Now().Add(-ago).UTC().Format(time.RFC3339Nano)
	text, err = json.Marshal(f)
	must(b.t, err)
	must(b.t, b.redis.Set(b.t.Context(), "cartstream:reconcile:recent", text, 0).Err())
}

func TestBooksThatAShardCouldntBeToldAboutAreToldByTheNextRun(t *testing.T) {
	b := setup(t)
	b.settled(20)
	b.recent(20)
	b.began(time.Hour)
	b.publish("b1", 4, time.Now().Add(-10*time.Minute))
	b.carts.away[1] = &cart.Unavailable{Err: errors.New("connection refused")}
	if _, err := b.Recent(t.Context()); err == nil {
		t.Error("nothing is said of the shard")
	}
	if got := b.knows("b1"); !slices.Equal(got, []int64{4, 1, 4, 4}) {
		t.Errorf("versions %v", got)
	}
	delete(b.carts.away, 1)
	_, err := b.Recent(t.Context())
	must(t, err)
	if got := b.knows("b1"); slices.Min(got) != 4 {
		t.Errorf("versions %v", got)
	}
}

func TestARunOverAllComparesEveryBookThatAShardKnows(t *testing.T) {
	b := setup(t)
	var held []string
	for i := range 7 {
		book := "x" + strconv.Itoa(i)
		held = append(held, book)
		for u := range 20 {
			b.add("u"+strconv.Itoa(u), book)
		}
		b.publish(book, int64(1+i%2), time.Now().Add(-48*time.Hour))
	}
	b.relay()
	b.all()
	for i, book := range held {
		if got := b.knows(book); slices.Min(got) != int64(1+i%2) || slices.Max(got) != int64(1+i%2) {
			t.Errorf("versions of %s: %v", book, got)
		}
	}
	if got := b.metric("cartstream_reconcile_facts_total", ""); got != 3*shards {
		t.Errorf("%d facts were older, want 3 in each of %d shards", got, shards)
	}
}
