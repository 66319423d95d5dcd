package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// shelf is a catalogue in which every book is the same.
type shelf struct{}

func (shelf) Cached(id string) (schemas.Book, bool) {
	return schemas.Book{BookID: id, Title: "Emma", UnitPrice: 1299, Status: schemas.Available, Version: 1}, true
}
func (shelf) Lookup(context.Context, string) (schemas.Book, error) {
	return schemas.Book{}, errors.New("not needed")
}
func (shelf) Forget() {}

func openStore(t *testing.T, addrs ...string) *cart.Store {
	t.Helper()
	s, err := cart.Open(cart.Options{
		Redis: &redis.UniversalOptions{Addrs: addrs, MaxRetries: -1, IsClusterMode: len(addrs) > 1,
			DialTimeout: 500 * time.Millisecond, ReadTimeout: 800 * time.Millisecond},
		Shards: 16, Currency: "EUR", Limits: cart.Limits{Quantity: 999, Lines: 500}, Catalogue: shelf{},
		KeepAnswers: time.Hour, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// ready opens every shard, as recovery does.
func ready(t *testing.T, s *cart.Store) {
	t.Helper()
	ctx := t.Context()
	g := cart.NewGeneration(time.Now().UnixMilli())
	for _, n := range s.Nodes(ctx) {
		shards, err := n.Inspect(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range shards {
			g.Number = max(g.Number, s.Generation.Number+1)
		}
		if err := n.Swap(ctx, g, cart.Ready, shards...); err != nil {
			t.Fatal(err)
		}
		if err := n.Load(ctx, g); err != nil {
			t.Fatal(err)
		}
		_ = n.Close()
	}
}

// gateway serves sockets from a store of its own, as an instance of the API does.
func gateway(t *testing.T, addrs ...string) string {
	t.Helper()
	s := openStore(t, addrs...)
	g := New(Config{
		Carts: s, Feed: func(l cart.Listener) Feed { return s.Feed(l) }, Tokens: tokens{},
		Problem: func(w http.ResponseWriter, _ *http.Request, err error) { http.Error(w, err.Error(), statusOf(err)) },
		Drain:   time.Second, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		_ = g.Run(ctx)
		close(ended)
	}()
	server := httptest.NewServer(g)
	t.Cleanup(func() {
		stop()
		<-ended
		server.Close()
	})
	return server.URL
}

// screen is a device that follows until the test ends, checking every frame.
type screen struct {
	mu    sync.Mutex
	state *follower
	news  chan struct{}
}

func watchOn(t *testing.T, url, user string) *screen {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + user}}})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	s := &screen{state: newFollower(), news: make(chan struct{}, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			_, text, err := conn.Read(context.Background())
			if err != nil {
				return
			}
			s.mu.Lock()
			if err := s.state.apply(text); err != nil {
				t.Errorf("%s: %v", user, err)
			}
			s.mu.Unlock()
			signal(s.news)
		}
	}()
	t.Cleanup(func() {
		_ = conn.CloseNow()
		<-ended
	})
	return s
}

// shows waits until the device shows what Redis holds.
func (s *screen) shows(t *testing.T, store *cart.Store, user string) {
	t.Helper()
	late := time.After(50 * time.Second)
	for {
		view, err := store.Get(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		shown := view.Shown()
		want := string(snapshotFrame(shown).text)
		s.mu.Lock()
		got, frames := string(snapshotFrame(s.state.Cart).text), len(s.state.Frames)
		s.mu.Unlock()
		if got == want {
			return
		}
		select {
		case <-s.news:
		case <-late:
			t.Fatalf("%s, after %d frames, shows\n%s, Redis\n%s", user, frames, got, want)
		}
	}
}

func (s *screen) frames(kind string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.state.Frames {
		if k == kind {
			n++
		}
	}
	return n
}

func TestDevicesOnTwoInstancesShowWhatRedisHoldsThoughNoticesGetLost(t *testing.T) {
	testInstances(t, enginetest.Redis(t))
}

func testInstances(t *testing.T, addrs ...string) {
	store := openStore(t, addrs...)
	ready(t, store)
	urls := []string{gateway(t, addrs...), gateway(t, addrs...)}
	const users, changes = 5, 200
	screens := map[string][]*screen{}
	for u := range users {
		user := fmt.Sprint("u", u)
		for _, url := range urls {
			screens[user] = append(screens[user], watchOn(t, url, user), watchOn(t, url, user))
		}
	}
	var all sync.WaitGroup
	for user := range screens {
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(len(user))))
			var held []cart.Notice
			for i := range changes {
				quantity := int64(1 + i%20)
				result, err := store.Set(t.Context(), cart.Request{User: user}, fmt.Sprint("b", random.IntN(7)), quantity)
				if err != nil {
					t.Error(err)
					return
				}
				if result.Change.Version == 0 {
					continue
				}
				n := cart.Notice{User: user, Payload: schemas.EncodeCartChanged(result.Change)}
				switch dice := random.IntN(20); {
				case i == changes-1: // the last one tells, so that nobody has to wait for a check
				case dice == 0:
					continue // lost
				case dice == 1:
					held = append(held, n) // late
					continue
				case dice == 2:
					held = append(held, n) // and once more
				}
				if err := store.Publish(t.Context(), append([]cart.Notice{n}, held...)); err != nil {
					t.Error(err)
				}
				held = nil
			}
		})
	}
	all.Wait()
	var sockets, snapshots, shown int
	for user, devices := range screens {
		result, err := store.Add(t.Context(), cart.Request{User: user}, "last", 1)
		if err != nil {
			t.Fatal(err)
		}
		notice := cart.Notice{User: user, Payload: schemas.EncodeCartChanged(result.Change)}
		if err := store.Publish(t.Context(), []cart.Notice{notice}); err != nil {
			t.Fatal(err)
		}
		for _, d := range devices {
			d.shows(t, store, user)
			snapshots, shown = snapshots+d.frames("snapshot"), shown+d.frames("change")
			sockets++
		}
	}
	// How often a gap becomes a snapshot, and so how many changes are shown one by one, is the machine's speed.
	if snapshots <= sockets || shown == 0 {
		t.Errorf("%d snapshots and %d changes on %d sockets: a gap, or a change, was never shown", snapshots, shown, sockets)
	}
}

func TestSocketsOutliveRedisAndRecoverByThemselves(t *testing.T) {
	server := enginetest.EmbeddedRedis(t)
	store := openStore(t, server.Addr)
	ready(t, store)
	url := gateway(t, server.Addr)
	device := watchOn(t, url, "u1")
	add := func() {
		t.Helper()
		if _, err := store.Add(t.Context(), cart.Request{User: "u1"}, "b1", 1); err != nil {
			t.Fatal(err)
		}
	}
	add() // nothing is published
	server.Kill()
	_, response, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer u2"}}})
	if err == nil || response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a client that came while Redis was away: %v", err)
	}
	server.Start() // empty
	ready(t, store)
	add()
	device.shows(t, store, "u1")
	watchOn(t, url, "u2").shows(t, store, "u2")
}
