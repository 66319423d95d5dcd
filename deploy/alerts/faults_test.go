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
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// elsewhere are the alerts that no fault fires here, and why.
var elsewhere = map[string]string{
	"RedisNotDurable": "the embedded Redis keeps nothing and doesn't say so: tested on a real one",
}

// One story, since each fault needs the whole product: what fires is noted as it goes.
func TestEachAlertIsFiredByAFault(t *testing.T) {
	s := start(t)
	s.calm()

	t.Log("hundreds of clients that take nothing, and a job that hangs on an instance that is gone")
	s.sleepers(320)
	s.hang("reconcile")

	t.Log("records that nobody can read")
	for range 101 {
		s.poison()
	}
	s.fires("DeadLetters", "ManyDeadLetters", "DeadLettersForgotten")

	t.Log("a stored cart that is gone")
	s.add("u3", "b1") // u1's is stored anew with each record that is parked
	stored := s.mongo.Database("cartstream").Collection("carts")
	until(t, "it is stored", func() bool {
		return stored.FindOneAndDelete(t.Context(), bson.D{{Key: "_id", Value: "u3"}}).Err() == nil
	})
	s.ops("POST", "/admin/reconcile", map[string]any{"scope": "all"})
	s.fires("Drift")

	t.Log("a MongoDB that takes nothing, while there is much to store")
	s.mongodb.Freeze()
	s.again(2 * time.Minute)
	s.fires("ConsumerLag")
	s.mongodb.Thaw()

	t.Log("a consumer that rests")
	s.ops("POST", "/admin/consumers/persist/pause", nil)
	s.fires("ConsumerPaused", "TimerOverdue")
	s.ops("POST", "/admin/consumers/persist/resume", nil)

	t.Log("a Redis that loses thousands of carts, until that was seen")
	s.store(3000)
	restoring := s.condition(s.rule("ShardsRestoring"))
	until(t, "it was seen", func() bool { s.lose(); return s.sees(restoring) })
	s.fired["ShardsRestoring"] = true

	t.Log("a topic for dead letters that is gone")
	_, err := kadm.NewClient(s.client).DeleteTopic(t.Context(), schemas.CartDLQ)
	must(t, err)
	s.poison()
	s.fires("DeadLettersHeld", "SlowSockets")

	t.Log("a Kafka that is away, for a hundred thousand changes and a minute")
	s.kafka.Stop()
	s.add("u2", "b1")
	s.book("PUT", "/v1/books/b1", "Emma", 1399)
	s.hoard(100_001, time.Minute)
	s.fires("EngineAway", "OutboxOld", "OutboxLong", "BooksUnpublished")

	t.Log("a Redis that forgot its scripts while Kafka is away")
	must(t, s.carts.ScriptFlush(t.Context()).Err())
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
	t                     *testing.T
	redis, kafka, mongodb *enginetest.Server
	api, consumers        *process
	client                *kgo.Client
	carts                 *redis.Client
	mongo                 *mongo.Client
	well                  []series // what was told when all was well
	fired                 map[string]bool
}

const secret = "a secret of thirty-two characters"

func start(t *testing.T) *stack {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir, "cartstream/api", "cartstream/consumers")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	s := &stack{t: t, redis: enginetest.EmbeddedRedis(t), kafka: enginetest.EmbeddedKafka(t), mongodb: enginetest.EmbeddedMongo(t), fired: map[string]bool{}}
	env := []string{
		"REDIS_ADDRS=" + s.redis.Addr, "KAFKA_BROKERS=" + s.kafka.Addr, "MONGODB_URI=" + s.mongodb.Addr,
		"JWT_SECRET=" + secret, "RATE_LIMIT=0", "LOG_FORMAT=json", "HTTP_ADDR=127.0.0.1:0", "OPS_ADDR=127.0.0.1:0", "TOPIC_PARTITIONS=4", "SHARDS=16", "RECONCILE_EVERY=5s",
	}
	s.api, s.consumers = run(t, filepath.Join(dir, "api"), env), run(t, filepath.Join(dir, "consumers"), env)
	var err error
	s.client, err = kgo.NewClient(kgo.SeedBrokers(s.kafka.Addr))
	must(t, err)
	t.Cleanup(s.client.Close)
	s.carts = redis.NewClient(&redis.Options{Addr: s.redis.Addr})
	t.Cleanup(func() { _ = s.carts.Close() })
	s.mongo, err = mongo.Connect(options.Client().ApplyURI(s.mongodb.Addr))
	must(t, err)
	t.Cleanup(func() { _ = s.mongo.Disconnect(context.Background()) })
	for _, p := range []*process{s.api, s.consumers} {
		until(t, "a process is ready", func() bool { return strings.Contains(p.get("/readyz"), `"status":"ready"`) })
	}
	s.book("POST", "/v1/books", "Emma", 1299)
	s.add("u1", "b1")
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

func (s *stack) rule(name string) (found rule) {
	s.t.Helper()
	for _, r := range rules(s.t) {
		if r.Alert == name {
			found = r
		}
	}
	return found
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

func (s *stack) add(user, book string) {
	s.t.Helper()
	s.api.call(s.t, "POST", "/v1/cart/items", user, "customer", map[string]any{"bookId": book})
}

// book creates or changes the book that the path names, b1 where it names none.
func (s *stack) book(method, path, title string, price int) {
	s.t.Helper()
	body := map[string]any{"title": title, "author": "Jane Austen", "unitPrice": price, "stock": 5}
	if method == "POST" {
		body["bookId"] = "b1"
	}
	s.api.call(s.t, method, path, "boss", "admin", body)
}

func (s *stack) ops(method, path string, body map[string]any) {
	s.t.Helper()
	s.consumers.call(s.t, method, path, "boss", "admin", body)
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
	encoded, err := json.Marshal(body)
	must(t, err)
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.addr+path, bytes.NewReader(encoded))
	must(t, err)
	request.Header = http.Header{"Authorization": {"Bearer " + token(t, user, role)}, "Content-Type": {"application/json"}}
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	if answer, _ := io.ReadAll(response.Body); response.StatusCode >= 300 {
		t.Fatalf("%s %s: %d %s", method, path, response.StatusCode, answer)
	}
}

func token(t *testing.T, user, role string) string {
	t.Helper()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": user, "role": role, "exp": time.Now().Add(time.Hour).Unix()}).
		SignedString([]byte(secret))
	must(t, err)
	return signed
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
