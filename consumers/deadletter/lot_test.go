package deadletter_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/consumers/deadletter"
	"cartstream/consumers/persist"
	"cartstream/consumers/runner"
	"cartstream/consumers/state"
	"cartstream/schemas"
)

// storing is the real persist.
func storing(b *bundle) runner.Runnable {
	registry := prometheus.NewRegistry()
	return persist.Consumer(persist.New(b.db, b.redis, registry, quiet()))
}

func TestAPoisonedChangeIsShownItsCartHealedAndTheLetterResolved(t *testing.T) {
	e := engines(t)
	b := with(t, e, storing(e))
	b.redis.set(change("u1", 1), change("u1", 2))
	poison := event(change("u1", 2))
	poison.Value = poison.Value[:len(poison.Value)/2]
	b.produce(event(change("u1", 1)), poison)

	l := b.one("group=persist&userId=u1&status=superseded")
	if l.Class != "undecodable" || l.Key != "u1" || l.Topic != schemas.CartEvents || l.Partition != 0 || l.Offset != 1 || l.Attempts != 1 ||
		l.Error == "" || l.FirstFailedAt.IsZero() || l.LastFailedAt.Before(l.FirstFailedAt.Time) {
		t.Errorf("letter %+v", l)
	}
	if l.Verdict == nil || *l.Verdict != deadletter.Outdated {
		t.Errorf("verdict %v", l.Verdict)
	}
	var stored schemas.Cart
	must(t, b.db.Collection("carts").FindOne(t.Context(), bson.D{{Key: "_id", Value: "u1"}}).Decode(&stored))
	if stored.Version != 2 {
		t.Errorf("the cart is at version %d", stored.Version)
	}
	whole := b.show(l.ID)
	if whole.Value == nil || !slices.Equal(*whole.Value, poison.Value) || whole.Headers["ce_id"] != "u1:100:2" || whole.Headers["dlq.id"] != l.ID {
		t.Errorf("shown %+v", whole)
	}
	if text := b.log.String(); strings.Contains(text, "Emma") {
		t.Errorf("a value shows in the log:\n%s", text)
	}
}

func TestWhatNothingIsKnownOfStaysParkedUntilItIsDiscarded(t *testing.T) {
	e := engines(t)
	b := with(t, e, storing(e))
	b.produce(&kgo.Record{Topic: schemas.CartEvents, Key: []byte("u1"), Value: []byte("no JSON")},
		&kgo.Record{Topic: schemas.CartEvents, Key: []byte("u2")}) // a null
	first := b.one("userId=u1")
	if first.Status != deadletter.Parked || first.Verdict == nil || *first.Verdict != deadletter.Unreadable {
		t.Errorf("letter %+v", first)
	}
	null := b.one("userId=u2")
	if whole := b.show(null.ID); whole.Value != nil || null.Class != "undecodable" {
		t.Errorf("letter of a null %+v", whole)
	}

	again := b.replay(first.ID)
	if again.ID != first.ID || again.Status != deadletter.Parked || again.Attempts != 2 || !again.LastFailedAt.After(first.LastFailedAt.Time) ||
		!again.FirstFailedAt.Equal(first.FirstFailedAt.Time) {
		t.Errorf("after a replay that failed %+v, before %+v", again, first)
	}
	var discarded deadletter.DeadLetter
	for range 2 { // twice is once
		status := b.call("POST", "/admin/dead-letters/"+first.ID+"/discard", `{"reason":"written by hand"}`, &discarded)
		if status != 200 || discarded.Status != deadletter.Discarded {
			t.Errorf("discard: %d %+v", status, discarded)
		}
	}
	if got := b.history(first.ID); len(got) != 2 || !strings.HasPrefix(got[0], "boss replay failed: ") || got[1] != "boss discard discarded written by hand" {
		t.Errorf("history %q", got)
	}
	b.one("status=parked")
}

func TestALetterIsReplayedToItsGroupAloneOnceTheCauseIsGone(t *testing.T) {
	push, others := &picky{rule: rejectAll}, &picky{}
	b := setup(t, push.consumer("push"), others.consumer("reminder"))
	b.redis.set(change("u1", 1))
	b.produce(event(change("u1", 1)))
	l := b.one("group=push")
	if l.Class != "rejected" || l.Verdict == nil || *l.Verdict != deadletter.WouldApply {
		t.Errorf("letter %+v", l)
	}
	if again := b.replay(l.ID); again.Status != deadletter.Parked || again.Attempts != 2 {
		t.Errorf("while the cause is there %+v", again)
	}
	push.become(nil)
	if done := b.replay(l.ID); done.Status != deadletter.Replayed || done.Attempts != 2 {
		t.Errorf("letter %+v", done)
	}
	if got := fmt.Sprint(push.versions(), others.versions()); got != "[1] [1]" {
		t.Errorf("the groups got %s", got)
	}
	if got := b.history(l.ID); len(got) != 2 || !strings.Contains(got[0], errNoGood.Error()) || got[1] != "boss replay replayed" {
		t.Errorf("history %q", got)
	}
	if status := b.call("POST", "/admin/dead-letters/"+l.ID+"/discard", `{"reason":"too late"}`, nil); status != 409 {
		t.Errorf("a replayed letter is discarded: %d", status)
	}
	push.become(rejectAll)
	if again := b.replay(l.ID); again.Status != deadletter.Parked || again.Attempts != 3 {
		t.Errorf("replayed once more, in vain %+v", again)
	}
	b.one("status=parked")
}

func TestAStateThatCouldNotBePublishedIsByItsReplay(t *testing.T) {
	e := engines(t)
	aborted := e.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.TxnOffsetCommit}, Err: kerr.IllegalGeneration, Count: 2})
	b := with(t, e, state.Consumer(e.redis, func(string) {}, prometheus.NewRegistry()))
	b.redis.set(change("u1", 1))
	b.redis.fail(errors.New("what Redis holds can't be read"))
	b.produce(event(change("u1", 1)))
	await(t, "a letter is committed", func() bool { return len(b.list("group=state")) == 1 })
	if aborted.Hits() != 2 {
		t.Errorf("%d transactions were aborted", aborted.Hits())
	}
	// Those that were aborted wrote the letter too: at offsets 0 and 2 of the topic, each behind it a marker.
	var indexed struct {
		At struct{ Offset int64 } `bson:"at"`
	}
	must(t, b.db.Collection(deadletter.Collection).FindOne(t.Context(), bson.D{{Key: "group", Value: "state"}}).Decode(&indexed))
	if indexed.At.Offset == 0 {
		t.Error("a letter was indexed whose transaction was aborted")
	}
	l := b.one("group=state")
	if l.Class != "exhausted" || l.Attempts != 10 || l.Verdict != nil {
		t.Errorf("letter %+v", l)
	}
	b.redis.fail(nil)
	if l := b.one("group=state"); l.Verdict == nil || *l.Verdict != deadletter.WouldApply {
		t.Errorf("letter %+v", l)
	}
	for l.Status != deadletter.Replayed { // a rebalance may come in between
		if status := b.call("POST", "/admin/dead-letters/"+l.ID+"/replay", "", &l); status != 202 && status != 503 {
			t.Fatalf("replay: %d", status)
		}
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(b.kafka.ListenAddrs()...), kgo.ConsumeTopics(schemas.CartState),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	must(t, err)
	t.Cleanup(reader.Close)
	published := reader.PollFetches(t.Context()).Records()
	if len(published) != 1 || string(published[0].Key) != "u1" {
		t.Errorf("published %v", published)
	}
}

func TestTheIndexIsBuiltAnewFromTheTopic(t *testing.T) {
	push := &picky{rule: rejectAll}
	b := setup(t, push.consumer("push"))
	for _, user := range []string{"discarded", "replayed", "failed", "superseded"} {
		b.redis.set(change(user, 1))
		b.produce(event(change(user, 1)))
	}
	foreign(b, "foreign")
	id := func(user string) string { return b.one("userId=" + user).ID }
	if status := b.call("POST", "/admin/dead-letters/"+id("discarded")+"/discard", `{"reason":"not needed"}`, nil); status != 200 {
		t.Fatalf("discard: %d", status)
	}
	b.replay(id("failed"))
	push.become(nil)
	b.replay(id("replayed"))
	b.redis.set(change("superseded", 1), change("superseded", 2))
	b.one("status=superseded")
	b.one("userId=foreign")
	before := b.list("")
	slices.SortFunc(before, byID)

	must(t, b.db.Collection(deadletter.Collection).Drop(t.Context()))
	await(t, "the index is as it was", func() bool {
		after := b.list("")
		slices.SortFunc(after, byID)
		return slices.EqualFunc(before, after, func(was, is deadletter.DeadLetter) bool {
			return was.ID == is.ID && was.Status == is.Status && was.Attempts == is.Attempts && was.Error == is.Error &&
				was.FirstFailedAt == is.FirstFailedAt && was.UserID == is.UserID
		})
	})
}

func byID(a, b deadletter.DeadLetter) int { return strings.Compare(a.ID, b.ID) }

// offsets are where the records of foreign letters stand.
var offsets = map[string]int64{"u1": 42, "u2": 43, "last": 44, "foreign": 45}

// foreign writes a letter as a share group of others would.
func foreign(b *bundle, user string) {
	b.t.Helper()
	header := func(key, value string) kgo.RecordHeader { return kgo.RecordHeader{Key: key, Value: []byte(value)} }
	b.produce(&kgo.Record{Topic: schemas.CartDLQ, Key: []byte(user), Value: schemas.EncodeCartChanged(change(user, 1)), Headers: []kgo.RecordHeader{
		header(runner.HeaderTopic, schemas.CartEvents), header(runner.HeaderPartition, "3"), header(runner.HeaderOffset, fmt.Sprint(offsets[user])),
		header(runner.HeaderGroup, "reports"), header(runner.HeaderAttempts, "5"),
	}})
}

func TestLettersOfOthersAreShownAndNotReplayed(t *testing.T) {
	b := setup(t)
	foreign(b, "u1")
	foreign(b, "u1") // written twice
	b.produce(&kgo.Record{Topic: schemas.CartDLQ, Key: []byte{0xff, 'x'}, Value: []byte("whatever")},
		&kgo.Record{Topic: schemas.CartDLQ, Key: []byte("u3"), Headers: []kgo.RecordHeader{
			{Key: runner.HeaderGroup, Value: []byte("persist")}, {Key: runner.HeaderID, Value: []byte("../escape")},
		}})
	for range 2 {
		b.produce(&kgo.Record{Topic: schemas.CartDLQ, Key: []byte("u4"), Headers: []kgo.RecordHeader{{Key: runner.HeaderID, Value: []byte("-")}}})
	}
	l := b.one("group=reports")
	if l.Topic != schemas.CartEvents || l.Partition != 3 || l.Offset != 42 || l.Attempts != 5 || l.UserID != "u1" || l.Status != deadletter.Parked ||
		l.Verdict != nil || !strings.Contains(l.Error, "dlq.id is missing") {
		t.Errorf("letter %+v", l)
	}
	await(t, "all are indexed", func() bool { return len(b.list("")) == 4 })
	for _, l := range b.list("") {
		if strings.Contains(l.ID, "/") {
			t.Errorf("id %q", l.ID)
		}
		var p struct{ Type string }
		if status := b.call("POST", "/admin/dead-letters/"+l.ID+"/replay", "", &p); status != 409 || p.Type != "/problems/not-replayable" {
			t.Errorf("replay of %+v: %d %+v", l, status, p)
		}
		if l.Key == "\uFFFDx" && (l.Topic != schemas.CartDLQ || l.UserID != "" || l.Class != "undecodable") {
			t.Errorf("letter %+v", l)
		}
	}
	var sum deadletter.Summary
	if status := b.call("POST", "/admin/dead-letters/replay", `{"filter":{}}`, &sum); status != 200 || sum.Matched != 4 || sum.Replayed != 0 {
		t.Errorf("replay of all: %d %+v", status, sum)
	}
	if status := b.call("POST", "/admin/dead-letters/"+l.ID+"/discard", `{"reason":"theirs"}`, nil); status != 200 {
		t.Errorf("discard: %d", status)
	}
}

func TestALetterThatWasWrittenTwiceIsOne(t *testing.T) {
	push := &picky{rule: rejectAll}
	b := setup(t, push.consumer("push"))
	b.redis.set(change("u1", 1))
	b.produce(event(change("u1", 1)))
	l := b.one("")
	whole := b.show(l.ID)
	copied := &kgo.Record{Topic: schemas.CartDLQ, Key: []byte("u1"), Value: *whole.Value}
	for name, value := range whole.Headers {
		copied.Headers = append(copied.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	b.produce(copied)
	foreign(b, "last")
	b.one("userId=last") // the copy stands before it
	if got := b.one("userId=u1"); got.Attempts != 1 || got.Status != deadletter.Parked {
		t.Errorf("letter %+v", got)
	}
}

func TestPausedItIndexesNothing(t *testing.T) {
	b := setup(t)
	b.whole()
	foreign(b, "u1")
	b.one("userId=u1")
	must(t, b.runner.Pause(deadletter.Group))
	fetched := b.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Observe: true, Count: -1})
	foreign(b, "u2")
	await(t, "some time went by", func() bool { return fetched.Hits() > 0 })
	if found := b.list("userId=u2"); len(found) > 0 {
		t.Errorf("it indexed %+v", found)
	}
	must(t, b.runner.Resume(deadletter.Group))
	b.one("userId=u2")
}

func TestAnIndexThatCouldNotBeBuiltIsBuiltLater(t *testing.T) {
	e := engines(t)
	foreign(e, "u1")
	refused := e.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: schemas.CartDLQ, Err: kerr.TopicAuthorizationFailed, Count: -1})
	b := with(t, e)
	await(t, "the topic was refused again and again", func() bool { return refused.Hits() > 3 })
	if n, err := b.db.Collection(deadletter.Collection).CountDocuments(t.Context(), bson.D{}); err != nil || n > 0 {
		t.Errorf("%d documents, %v", n, err)
	}
	refused.Remove()
	b.whole()
	b.one("userId=u1")
}
