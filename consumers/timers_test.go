package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

const timerMetric = `cartstream_timer_last_success_timestamp_seconds{job="remind"}`

// Two processes look for idle carts, and one is killed meanwhile: whatever it was about to do, each cart has one reminder.
func TestEachIdleCartHasOneReminderThoughAProcessIsKilled(t *testing.T) {
	at := addresses{redis: enginetest.Redis(t), kafka: enginetest.Kafka(t), mongo: enginetest.Mongo(t)}
	carts := shelved(t, at.redis)
	environment := at.env()
	maps.Copy(environment, map[string]string{"REMIND_AFTER": "1s", "SHARDS": "16"})
	killed, other := start(t, environment), start(t, environment, clock)

	want := map[string]bool{}
	put := func(from, to int) {
		for n := from; n < to; n++ {
			user := fmt.Sprintf("u%d", n)
			_, err := carts.Add(t.Context(), cart.Request{User: user}, "b1", 1)
			must(t, err)
			want[user] = true
		}
	}
	put(0, 50)
	other.await("a reminder is there", func() bool { return len(reminders(t, carts)) > 0 })
	put(50, 100)
	must(t, killed.cmd.Process.Kill())
	<-killed.done
	client := redis.NewClient(&redis.Options{Addr: at.redis})
	defer client.Close()
	must(t, client.Del(t.Context(), "cartstream:timer:{remind}:lease").Err()) // as if 30 s had passed
	put(100, 150)
	other.await("every cart has a reminder", func() bool { return len(reminders(t, carts)) >= len(want) })
	for user, n := range reminders(t, carts) {
		if n != 1 || !want[user] {
			t.Errorf("%d reminders of %s", n, user)
		}
	}
	other.await("the metrics tell", func() bool {
		_, body := other.get("/metrics")
		return strings.Contains(body, timerMetric) && !strings.Contains(body, timerMetric+" 0\n")
	})
	other.stop(t)
}

func TestTimersRunWhereTheyAreNamedOrNothingIs(t *testing.T) {
	redis := enginetest.Redis(t)
	for claim, c := range map[string]struct {
		args []string
		runs bool
	}{
		"without a name":         {nil, true},
		"by their name":          {[]string{"timers"}, true},
		"beside a consumer":      {[]string{"push", "timers"}, true},
		"not beside other names": {[]string{"push", "persist"}, false},
	} {
		t.Run(claim, func(t *testing.T) {
			p := start(t, map[string]string{"REDIS_ADDRS": redis}, c.args...)
			if _, body := p.get("/metrics"); strings.Contains(body, timerMetric) != c.runs {
				t.Errorf("timers run: %v", !c.runs)
			}
			p.stop(t)
		})
	}
}

// Neither persist nor a relay runs: nothing but reconciliation brings the carts to MongoDB.
func TestReconciliationHealsWhenItIsAskedFor(t *testing.T) {
	at := addresses{redis: enginetest.Redis(t), mongo: enginetest.Mongo(t)}
	carts := shelved(t, at.redis)
	for _, user := range []string{"u1", "u2"} {
		_, err := carts.Add(t.Context(), cart.Request{User: user}, "b1", 2)
		must(t, err)
	}
	p := start(t, map[string]string{"REDIS_ADDRS": at.redis, "MONGODB_URI": at.mongo, "SHARDS": "16"}, clock)
	if code, body := p.ops("GET", "/admin/reconcile", "admin"); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	ask := func(role, body string) int {
		raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "boss", "role": role, "exp": time.Now().Add(time.Hour).Unix()}).
			SignedString([]byte("of-the-tests"))
		must(t, err)
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.addr+"/admin/reconcile", strings.NewReader(body))
		must(t, err)
		request.Header.Set("Authorization", "Bearer "+raw)
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		must(t, err)
		must(t, response.Body.Close())
		return response.StatusCode
	}
	for claim, c := range map[string]struct {
		role, body string
		status     int
	}{
		"no customer may ask":     {"customer", `{"scope":"all"}`, 403},
		"an unknown scope":        {"admin", `{"scope":"some"}`, 400},
		"an admin asks for a run": {"admin", `{"scope":"all"}`, 202},
	} {
		if status := ask(c.role, c.body); status != c.status {
			t.Errorf("%s: %d", claim, status)
		}
	}
	p.await("both carts were healed", func() bool {
		_, body := p.get("/metrics")
		return strings.Contains(body, `cartstream_reconcile_healed_total{kind="missing"} 2`)
	})
	p.await("the run is over", func() bool {
		_, body := p.ops("GET", "/admin/reconcile", "admin")
		return strings.Contains(body, `"running":false`) && strings.Contains(body, `"finishedAt":"`)
	})
	for _, user := range []string{"u1", "u2"} {
		if c := at.stored(t, user); c.Version != 1 || c.TotalQuantity != 2 {
			t.Errorf("MongoDB has %+v of %s", c, user)
		}
	}
	p.stop(t)
}

// shelved returns carts in a Redis whose shards are open, as recovery leaves them.
func shelved(t *testing.T, redisAddr string) *cart.Store {
	t.Helper()
	carts, err := cart.Open(cart.Options{
		Redis: &redis.UniversalOptions{Addrs: []string{redisAddr}, MaxRetries: -1}, Shards: 16, Currency: "EUR",
		Limits: cart.Limits{Quantity: 999, Lines: 500}, Catalogue: shelf{}, RemindAfter: time.Second, KeepAnswers: time.Hour,
		Log: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	t.Cleanup(func() { _ = carts.Close() })
	must(t, carts.CheckShards(t.Context()))
	g := cart.NewGeneration(time.Now().UnixMilli())
	for _, n := range carts.Nodes(t.Context()) {
		shards, err := n.Inspect(t.Context())
		must(t, err)
		must(t, n.Swap(t.Context(), g, cart.Ready, shards...))
		must(t, n.Load(t.Context(), g))
		must(t, n.Close())
	}
	return carts
}

// shelf has every book.
type shelf struct{}

func (shelf) Cached(id string) (schemas.Book, bool) {
	return schemas.Book{BookID: id, Title: "Emma", UnitPrice: 1299, Currency: "EUR", Stock: 5, Status: schemas.Available, Version: 1}, true
}

func (s shelf) Lookup(_ context.Context, id string) (schemas.Book, error) {
	b, _ := s.Cached(id)
	return b, nil
}

func (shelf) Forget() {}

// reminders are how many of them wait for the relay, by user.
func reminders(t *testing.T, carts *cart.Store) map[string]int {
	t.Helper()
	found := map[string]int{}
	var cursors []schemas.OutboxCursor
	for shard := range carts.Shards() {
		_, _, err := carts.Known(t.Context(), shard, "", 1) // so that this process knows its generation
		must(t, err)
		cursors = append(cursors, schemas.OutboxCursor{Shard: shard})
	}
	batches, err := carts.ReadOutbox(t.Context(), cursors, 0, 1000)
	must(t, err)
	for _, b := range batches {
		must(t, b.Err)
		for _, e := range b.Entries {
			if e.Topic == schemas.CartReminders {
				found[e.Key]++
			}
		}
	}
	return found
}
