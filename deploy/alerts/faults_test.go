package alerts_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// elsewhere are the alerts that no fault fires here, since it would take too long or too much, and why that is enough.
var elsewhere = map[string]string{
	"OutboxLong":      "100,000 changes: its metric and OutboxOld's are read together",
	"ConsumerLag":     "a minute of waiting: consumers/runner tests that what isn't done counts, and how old it is",
	"SlowSockets":     "more than one a second for five minutes: api/live tests that a slow socket counts as one",
	"TimerOverdue":    "a quarter of an hour: consumers/timer tests when a job counts as overdue",
	"RedisNotDurable": "the embedded Redis keeps nothing and doesn't say so: tested on a real one",
	"ShardsRestoring": "half an hour: api/recovery tests what a lost shard goes through",
	"Drift":           "consumers/reconcile tests what counts as drift",
}

// One story, since each fault needs the whole product: what fires is noted as it goes.
func TestEachAlertIsFiredByAFault(t *testing.T) {
	s := start(t)
	s.calm()

	t.Log("records that nobody can read")
	for range 101 {
		s.poison()
	}
	s.fires("DeadLetters", "ManyDeadLetters", "DeadLettersForgotten")

	t.Log("a consumer that rests")
	s.ops("POST", "/admin/consumers/persist/pause")
	s.fires("ConsumerPaused")

	t.Log("a topic for dead letters that is gone")
	_, err := kadm.NewClient(s.client).DeleteTopic(t.Context(), schemas.CartDLQ)
	must(t, err)
	s.poison()
	s.fires("DeadLettersHeld")

	t.Log("a Kafka that is away")
	s.kafka.Stop()
	s.add("u2")
	s.book("PUT", "/v1/books/b1", 1399)
	s.fires("EngineAway", "OutboxOld", "BooksUnpublished")

	t.Log("a Redis that forgot its scripts while Kafka is away")
	client := redis.NewClient(&redis.Options{Addr: s.redis.Addr})
	must(t, client.ScriptFlush(t.Context()).Err())
	must(t, client.Close())
	s.fires("ShardsRecovering")

	t.Log("a Redis that is away")
	s.redis.Stop()
	s.fires("ShardsUnknown", "OutboxUnseen")

	t.Log("no consumers process")
	s.consumers.end()
	s.consumers = nil
	s.fires("ConsumersGone")

	for _, r := range rules(t) {
		if _, there := elsewhere[r.Alert]; s.fired[r.Alert] == there {
			t.Errorf("%s: fired %v, tested elsewhere %v", r.Alert, s.fired[r.Alert], there)
		}
	}
}

// stack is the product on engines that can be taken away.
type stack struct {
	t              *testing.T
	redis, kafka   *enginetest.Server
	api, consumers *process
	client         *kgo.Client
	well           []series // what was told when all was well
	fired          map[string]bool
}

const secret = "a secret of thirty-two characters"

func start(t *testing.T) *stack {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "cartstream/api", "cartstream/consumers")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	s := &stack{t: t, redis: enginetest.EmbeddedRedis(t), kafka: enginetest.EmbeddedKafka(t), fired: map[string]bool{}}
	env := []string{
		"REDIS_ADDRS=" + s.redis.Addr, "KAFKA_BROKERS=" + s.kafka.Addr, "MONGODB_URI=" + enginetest.EmbeddedMongo(t).Addr,
		"JWT_SECRET=" + secret, "RATE_LIMIT=0", "LOG_FORMAT=json", "HTTP_ADDR=127.0.0.1:0", "OPS_ADDR=127.0.0.1:0", "TOPIC_PARTITIONS=4", "SHARDS=16",
	}
	s.api, s.consumers = run(t, filepath.Join(dir, "api"), env), run(t, filepath.Join(dir, "consumers"), env)
	var err error
	s.client, err = kgo.NewClient(kgo.SeedBrokers(s.kafka.Addr))
	must(t, err)
	t.Cleanup(s.client.Close)
	for _, p := range []*process{s.api, s.consumers} {
		until(t, "a process is ready", func() bool { return strings.Contains(p.get("/readyz"), `"status":"ready"`) })
	}
	s.book("POST", "/v1/books", 1299)
	s.add("u1")
	return s
}

// calm waits until no alert has a reason, and holds every metric and label that the rules name against what is told.
func (s *stack) calm() {
	s.t.Helper()
	all := rules(s.t)
	until(s.t, "no alert has a reason", func() bool {
		s.well = s.scrape()
		return !slices.ContainsFunc(all, func(r rule) bool { return s.condition(r).fires(s.well, s.well) })
	})
	for _, r := range all {
		if len(s.condition(r).of(s.well)) == 0 {
			s.t.Errorf("%s asks for what nobody tells: %s", r.Alert, r.Expr)
		}
		for _, by := range grouped.FindAllStringSubmatch(r.Expr, -1) {
			for label := range strings.SplitSeq(by[1], ", ") {
				if !slices.ContainsFunc(s.well, func(one series) bool { _, has := one.labels[label]; return one.metric == s.condition(r).metric && has }) {
					s.t.Errorf("%s groups by %s, which %s doesn't have", r.Alert, label, s.condition(r).metric)
				}
			}
		}
	}
}

func (s *stack) condition(r rule) condition {
	c, err := read(r.Expr)
	if err != nil {
		s.t.Fatalf("%s: %v", r.Alert, err)
	}
	return c
}

// fires waits until the conditions of all these alerts hold.
func (s *stack) fires(names ...string) {
	s.t.Helper()
	for _, r := range rules(s.t) {
		if slices.Contains(names, r.Alert) {
			since := time.Now()
			until(s.t, r.Alert+" fires", func() bool { return s.condition(r).fires(s.well, s.scrape()) })
			s.fired[r.Alert] = true
			s.t.Logf("%s fires after %.1f s", r.Alert, time.Since(since).Seconds())
		}
	}
	for _, name := range names {
		if !s.fired[name] {
			s.t.Fatalf("there is no alert %s", name)
		}
	}
}

func (s *stack) scrape() (all []series) {
	s.t.Helper()
	all = parse(s.t, s.api.get("/metrics"))
	if s.consumers != nil {
		all = append(all, parse(s.t, s.consumers.get("/metrics"))...)
	}
	return all
}

func (s *stack) poison() {
	s.t.Helper()
	must(s.t, s.client.ProduceSync(s.t.Context(), &kgo.Record{Topic: schemas.CartEvents, Key: []byte("u1"), Value: []byte("poison")}).FirstErr())
}

func (s *stack) add(user string) {
	s.t.Helper()
	s.api.call(s.t, "POST", "/v1/cart/items", user, "customer", map[string]any{"bookId": "b1"})
}

func (s *stack) book(method, path string, price int) {
	s.t.Helper()
	body := map[string]any{"title": "Emma", "author": "Jane Austen", "unitPrice": price, "stock": 5}
	if method == "POST" {
		body["bookId"] = "b1"
	}
	s.api.call(s.t, method, path, "boss", "admin", body)
}

func (s *stack) ops(method, path string) {
	s.t.Helper()
	s.consumers.call(s.t, method, path, "boss", "admin", nil)
}

// process is one of ours.
type process struct {
	cmd  *exec.Cmd
	addr string
	end  func()
}

// run starts a binary and returns once it serves.
func run(t *testing.T, path string, env []string) *process {
	t.Helper()
	log := &transcript{}
	p := &process{cmd: exec.CommandContext(context.WithoutCancel(t.Context()), path)}
	p.cmd.Env, p.cmd.Stderr = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...), log
	must(t, p.cmd.Start())
	p.end = sync.OnceFunc(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		if t.Failed() {
			t.Logf("--- %s\n%s", filepath.Base(path), log.tail())
		}
	})
	t.Cleanup(p.end)
	until(t, filepath.Base(path)+" serves", func() bool { p.addr = log.addr(); return p.addr != "" })
	return p
}

// get returns the body, "" where nobody answers.
func (p *process) get(path string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr+path, nil)
	if err != nil {
		return ""
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(response.Body)
	return string(body)
}

// call makes a call that must succeed.
func (p *process) call(t *testing.T, method, path, user, role string, body map[string]any) {
	t.Helper()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": user, "role": role, "exp": time.Now().Add(time.Hour).Unix()}).
		SignedString([]byte(secret))
	must(t, err)
	encoded, err := json.Marshal(body)
	must(t, err)
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.addr+path, bytes.NewReader(encoded))
	must(t, err)
	request.Header = http.Header{"Authorization": {"Bearer " + signed}, "Content-Type": {"application/json"}}
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	if answer, _ := io.ReadAll(response.Body); response.StatusCode >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, response.StatusCode, answer)
	}
}

// transcript is what a process logs.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *transcript) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *transcript) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.text.Bytes()
	return string(b[max(0, len(b)-6000):])
}

// addr is where the process says that it serves.
func (l *transcript) addr() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		var attributes map[string]any
		if json.Unmarshal([]byte(line), &attributes) == nil && attributes["addr"] != nil {
			return fmt.Sprint(attributes["addr"])
		}
	}
	return ""
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.Now().Add(100 * time.Second)
	for !is() {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
