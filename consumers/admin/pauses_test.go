package admin_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"cartstream/consumers/admin"
	"cartstream/deploy/enginetest"
)

// runner is the consumers of a process, and which of them rest.
type runner struct {
	mu    sync.Mutex
	rests []string
}

func (r *runner) Pause(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if name == "broken" {
		return errors.New("can't be paused")
	}
	r.rests = append(r.rests, name)
	return nil
}

func (r *runner) Resume(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rests = slices.DeleteFunc(r.rests, func(n string) bool { return n == name })
	return nil
}

// rest reports whether just these consumers are paused, each once.
func (r *runner) rest(names ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Equal(r.rests, names)
}

// process is one consumers process, as far as pauses go.
type process struct {
	*ops
	*runner
	pauses *admin.Pauses
	reg    *prometheus.Registry
}

func begin(t *testing.T, addr string, runs ...string) *process {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1, DialTimeout: 500 * time.Millisecond})
	t.Cleanup(func() { _ = client.Close() })
	p := &process{runner: &runner{}, reg: prometheus.NewRegistry()}
	p.pauses = admin.NewPauses(client, p.runner, []string{"persist", "push", "broken"}, runs, p.reg, slog.New(slog.DiscardHandler))
	p.ops = serve(t, p.pauses.Routes()...)
	p.pauses.Settle(t.Context())
	return p
}

func (p *process) follow(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.pauses.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestAPauseHoldsInEveryProcessAndAfterARestart(t *testing.T) {
	addr := enginetest.Redis(t)
	one, two := begin(t, addr, "persist", "push"), begin(t, addr, "persist")
	one.follow(t)
	two.follow(t)
	if w := one.call(t, "POST", "/admin/consumers/persist/pause", ""); w.Code != 200 || w.Body.String() != `{"name":"persist","paused":true}` {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if !one.rest("persist") {
		t.Error("the process that was asked goes on")
	}
	until(t, "the other process follows", func() bool { return two.rest("persist") })

	three := begin(t, addr, "push", "persist")
	if !three.rest("persist") {
		t.Error("a process that starts does not rest")
	}
	three.follow(t)
	// Asked where the consumer doesn't even run, and twice.
	four := begin(t, addr, "push")
	for range 2 {
		if w := four.call(t, "POST", "/admin/consumers/persist/resume", ""); w.Code != 200 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	until(t, "all go on", func() bool { return one.rest() && two.rest() && three.rest() })
	if !four.rest() {
		t.Errorf("a consumer that doesn't run here rests: %v", four.rests)
	}
}

type listed struct {
	Consumers []struct {
		Name, By string
		Paused   bool
		Since    *time.Time
	}
}

func TestTheListTellsWhoPausedFirst(t *testing.T) {
	addr := enginetest.Redis(t)
	p := begin(t, addr, "push")
	p.call(t, "POST", "/admin/consumers/push/pause", "")
	again := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+signed(t, "deputy", "admin")) }
	p.call(t, "POST", "/admin/consumers/push/pause", "", again)
	if !p.rest("push") {
		t.Errorf("resting: %v", p.rests)
	}
	got := decode[listed](t, p.call(t, "GET", "/admin/consumers", ""), 200).Consumers
	if len(got) != 3 || got[0].Name != "persist" || got[0].Paused || got[0].Since != nil ||
		got[1].Name != "push" || !got[1].Paused || got[1].By != "boss" || time.Since(*got[1].Since) > time.Minute {
		t.Errorf("got %+v", got)
	}
	if g := gathered(t, p.reg); g["cartstream_consumer_paused push"] != 1 {
		t.Errorf("metrics %v", g)
	}
	p.call(t, "POST", "/admin/consumers/push/resume", "")
	if g := gathered(t, p.reg); g["cartstream_consumer_paused push"] != 0 {
		t.Errorf("metrics %v", g)
	}
}

func TestAnUnknownConsumerCanNotBePaused(t *testing.T) {
	p := begin(t, enginetest.Redis(t), "push")
	for _, verb := range []string{"pause", "resume"} {
		refused(t, p.call(t, "POST", "/admin/consumers/pusher/"+verb, ""), 404, "not-found")
		refused(t, p.call(t, "GET", "/admin/consumers/push/"+verb, ""), 405, "method-not-allowed")
	}
}

func TestWithoutRedisNothingChanges(t *testing.T) {
	server := enginetest.EmbeddedRedis(t)
	p := begin(t, server.Addr, "push", "persist")
	p.call(t, "POST", "/admin/consumers/push/pause", "")
	server.Stop()
	for _, verb := range []string{"pause", "resume"} {
		if got := refused(t, p.call(t, "POST", "/admin/consumers/persist/"+verb, ""), 503, "unavailable"); got.Applied != "unknown" {
			t.Errorf("applied %q", got.Applied)
		}
	}
	refused(t, p.call(t, "GET", "/admin/consumers", ""), 503, "unavailable")
	looking, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	p.pauses.Settle(looking) // looks once at least
	if !p.rest("push") {
		t.Errorf("resting: %v", p.rests)
	}
	p.follow(t)
	server.Start() // with nothing in it: it keeps nothing
	until(t, "what Redis says is followed", func() bool { return p.rest() })
}
