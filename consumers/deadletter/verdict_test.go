package deadletter_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/consumers/deadletter"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

func TestTheVerdictIsAboutTheStoreAsItIs(t *testing.T) {
	b := setup(t)
	for user, version := range map[string]int64{"at1": 1, "at2": 2, "at3": 3} {
		c := schemas.Cart{UserID: user, Epoch: 100, Version: version, Items: []schemas.Line{}}
		_, err := b.db.Collection("carts").InsertOne(t.Context(), c)
		must(t, err)
		b.redis.carts[user] = c
	}
	_, err := b.db.Collection("carts").InsertOne(t.Context(), bson.D{{Key: "_id", Value: "spoiled"}, {Key: "version", Value: "seven"}})
	must(t, err)
	_, err = b.db.Collection("books").InsertOne(t.Context(), bson.D{{Key: "_id", Value: "b1"}, {Key: "version", Value: int64(5)}})
	must(t, err)

	cart := func(user string, epoch, version int64, whole bool) []byte {
		c := change(user, version)
		c.Epoch, c.Whole = epoch, whole
		return schemas.EncodeCartChanged(c)
	}
	book := func(id string, version int64) []byte {
		return schemas.EncodeBookChanged(schemas.BookChanged{BookID: id, Version: version, Type: schemas.BookUpdated, Title: "Emma"})
	}
	reminder := func(user string, version int64) []byte {
		return schemas.EncodeReminder(schemas.Reminder{UserID: user, Epoch: 100, Version: version, IdleSince: schemas.Milliseconds(1)})
	}
	garbled := []byte("{")
	n := 0
	for claim, c := range map[string]struct {
		group, topic, key string
		value             []byte
		id                string // the CloudEvents id
		want              deadletter.Verdict
	}{
		"persist: an older change":                {"persist", schemas.CartEvents, "at2", cart("at2", 100, 1, true), "", deadletter.Outdated},
		"persist: the stored change":              {"persist", schemas.CartEvents, "at2", cart("at2", 100, 2, false), "", deadletter.Outdated},
		"persist: an older epoch":                 {"persist", schemas.CartEvents, "at2", cart("at2", 99, 9, true), "", deadletter.Outdated},
		"persist: the next change":                {"persist", schemas.CartEvents, "at2", cart("at2", 100, 3, false), "", deadletter.WouldApply},
		"persist: a later whole cart":             {"persist", schemas.CartEvents, "at2", cart("at2", 101, 7, true), "", deadletter.WouldApply},
		"persist: a gap":                          {"persist", schemas.CartEvents, "at2", cart("at2", 100, 4, false), "", deadletter.NeedsFullSync},
		"persist: a higher epoch, not whole":      {"persist", schemas.CartEvents, "at2", cart("at2", 101, 3, false), "", deadletter.NeedsFullSync},
		"persist: a first change":                 {"persist", schemas.CartEvents, "new", cart("new", 100, 1, true), "", deadletter.WouldApply},
		"persist: nothing stored":                 {"persist", schemas.CartEvents, "new", cart("new", 100, 2, false), "", deadletter.NeedsFullSync},
		"persist: a spoiled document":             {"persist", schemas.CartEvents, "spoiled", cart("spoiled", 100, 2, false), "", ""},
		"persist: garbled, stored":                {"persist", schemas.CartEvents, "at2", garbled, "at2:100:2", deadletter.Outdated},
		"persist: null, stored":                   {"persist", schemas.CartEvents, "at2", nil, "at2:100:1", deadletter.Outdated},
		"persist: garbled, not stored":            {"persist", schemas.CartEvents, "at2", garbled, "at2:100:3", deadletter.Unreadable},
		"persist: garbled, nameless":              {"persist", schemas.CartEvents, "at2", garbled, "", deadletter.Unreadable},
		"persist: garbled, of another's name":     {"persist", schemas.CartEvents, "at2", garbled, "at3:100:1", deadletter.Unreadable},
		"persist: garbled, with a garbled name":   {"persist", schemas.CartEvents, "at2", garbled, "at2:100:1x", deadletter.Unreadable},
		"push: an older change":                   {"push", schemas.CartEvents, "at2", cart("at2", 100, 1, true), "", deadletter.Outdated},
		"push: the newest change":                 {"push", schemas.CartEvents, "at2", cart("at2", 100, 2, false), "", deadletter.WouldApply},
		"state: the newest change":                {"state", schemas.CartEvents, "at3", cart("at3", 100, 3, false), "", deadletter.WouldApply},
		"state: a change that Redis lost":         {"state", schemas.CartEvents, "at2", cart("at2", 100, 3, false), "", deadletter.NeedsFullSync},
		"state: garbled, Redis has it":            {"state", schemas.CartEvents, "at2", garbled, "at2:100:2", deadletter.Outdated},
		"booksync: an older version":              {"booksync", schemas.BookEvents, "b1", book("b1", 4), "", deadletter.Outdated},
		"booksync: the catalogue's version":       {"booksync", schemas.BookEvents, "b1", book("b1", 5), "", deadletter.WouldApply},
		"booksync: newer than the catalogue":      {"booksync", schemas.BookEvents, "b1", book("b1", 6), "", deadletter.NeedsFullSync},
		"booksync: a book that nobody knows":      {"booksync", schemas.BookEvents, "b2", book("b2", 1), "", deadletter.NeedsFullSync},
		"booksync: garbled, older":                {"booksync", schemas.BookEvents, "b1", garbled, "b1:4", deadletter.Outdated},
		"reminder: the user's own last change":    {"reminder", schemas.CartReminders, "at2", reminder("at2", 2), "", deadletter.WouldApply},
		"reminder: the user came back since":      {"reminder", schemas.CartReminders, "at2", reminder("at2", 1), "", deadletter.Outdated},
		"a foreign group's are nobody's to judge": {"reports", schemas.CartEvents, "at2", cart("at2", 100, 1, true), "", ""},
		"a topic that isn't read here":            {"persist", "theirs", "at2", garbled, "", ""},
	} {
		n++
		id := fmt.Sprintf("l%d", n)
		rec := written(id, 1, 1000)
		rec.Key, rec.Value = []byte(c.key), c.value
		for i, h := range rec.Headers {
			switch h.Key {
			case runner.HeaderGroup:
				rec.Headers[i].Value = []byte(c.group)
			case runner.HeaderTopic:
				rec.Headers[i].Value = []byte(c.topic)
			}
		}
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: schemas.HeaderID, Value: []byte(c.id)})
		b.produce(rec)
		t.Run(claim, func(t *testing.T) {
			await(t, "it is indexed", func() bool { return b.call("GET", "/admin/dead-letters/"+id, "", nil) == 200 })
			l := b.show(id)
			if got := l.Verdict; got == nil && c.want != "" || got != nil && *got != c.want {
				t.Errorf("verdict %v, want %s", got, c.want)
			}
			// Superseded ones resolve themselves, and no others.
			await(t, "it is superseded", func() bool { return c.want != deadletter.Outdated || b.show(id).Status == deadletter.Superseded })
			if status := b.show(id).Status; c.want != deadletter.Outdated && status != deadletter.Parked {
				t.Errorf("it is %s", status)
			}
		})
	}
}

func TestALetterThatTimeHasOvertakenIsNotReplayed(t *testing.T) {
	push := &picky{rule: rejectAll}
	b := setup(t, push.consumer("push"))
	b.redis.set(change("u1", 1))
	b.produce(event(change("u1", 1)))
	l := b.one("group=push")
	push.become(nil)
	b.redis.set(change("u1", 1), change("u1", 2))
	for range 2 { // asked for again, it stays so
		if got := b.replay(l.ID); got.Status != deadletter.Superseded || got.Attempts != 1 {
			t.Errorf("letter %+v", got)
		}
	}
	if got := push.versions(); len(got) > 0 {
		t.Errorf("the group got %v", got)
	}
	if got := b.history(l.ID); !slices.Equal(got, []string{"boss replay superseded", "boss replay superseded"}) {
		t.Errorf("history %q", got)
	}
}

func TestAnEndedLetterThatTimeHasOvertakenKeepsItsEnd(t *testing.T) {
	push := &picky{rule: rejectAll}
	b := setup(t, push.consumer("push"))
	b.redis.set(change("u1", 1))
	b.produce(event(change("u1", 1)))
	l := b.one("group=push")
	if status := b.call("POST", "/admin/dead-letters/"+l.ID+"/discard", `{"reason":"not needed"}`, nil); status != 200 {
		t.Fatalf("discard: %d", status)
	}
	b.redis.set(change("u1", 1), change("u1", 2))
	if got := b.replay(l.ID); got.Status != deadletter.Discarded || got.Attempts != 1 {
		t.Errorf("letter %+v", got)
	}
}
