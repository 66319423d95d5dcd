package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"cartstream/deploy/enginetest"
	"cartstream/schemas"
	"cartstream/schemas/env"
)

func TestAChangeReachesMongoDBAndThePubSub(t *testing.T) {
	at := addresses{redis: enginetest.Redis(t), kafka: enginetest.Kafka(t), mongo: enginetest.Mongo(t)}
	p := start(t, at.env())
	follower := redis.NewClient(&redis.Options{Addr: at.redis})
	t.Cleanup(func() { _ = follower.Close() })
	feed := follower.PSubscribe(t.Context(), "*u1*")
	_, err := feed.Receive(t.Context()) // the subscription is there
	must(t, err)

	change := event("u1", 1)
	p.await("Kafka takes the change", func() bool { return at.produce(t, change) == nil })
	p.await("MongoDB has the cart", func() bool { return at.stored(t, "u1").Version == 1 })
	var want schemas.Cart
	want.Apply(change)
	if got := at.stored(t, "u1"); string(schemas.EncodeCart(got)) != string(schemas.EncodeCart(want)) {
		t.Errorf("MongoDB has %s", schemas.EncodeCart(got))
	}
	select {
	case m := <-feed.Channel():
		if m.Payload != string(schemas.EncodeCartChanged(change)) {
			t.Errorf("published %s", m.Payload)
		}
	case <-time.After(20 * time.Second):
		t.Error("nothing was published")
	}

	p.await("readiness says ready", func() bool { code, body := p.get("/readyz"); return code == 200 && body == allReady })
	if code, body := p.get("/healthz"); code != 200 || !strings.Contains(body, "ok") {
		t.Errorf("/healthz: %d %s", code, body)
	}
	p.await("metrics say what was written", func() bool {
		code, body := p.get("/metrics")
		return code == 200 && strings.Contains(body, "cartstream_persist_documents_written_total 1")
	})
	p.stop(t)
}

const allReady = `{"status":"ready","engines":{"kafka":{"state":"up"},"mongodb":{"state":"up"},"redis":{"state":"up"}}}`

func TestOnlyTheNamedConsumersRun(t *testing.T) {
	at := addresses{redis: enginetest.Redis(t), kafka: enginetest.Kafka(t), mongo: enginetest.Mongo(t)}
	p := start(t, at.env(), "persist")
	p.await("Kafka takes the change", func() bool { return at.produce(t, event("u1", 1)) == nil })
	p.await("MongoDB has the cart", func() bool { return at.stored(t, "u1").Version == 1 })
	groups, err := kadm.NewClient(at.client(t)).ListGroups(t.Context())
	must(t, err)
	if got := strings.Join(groups.Groups(), " "); got != "persist" {
		t.Errorf("groups: %s", got)
	}
}

func TestWithoutARelayRemindersStayQueued(t *testing.T) {
	p := start(t, nil)
	p.await("it says so", func() bool { return p.logged("reminders stay queued: SMTP_ADDR and MAIL_FROM are unset") })
	p.stop(t)
	relayed := start(t, map[string]string{"SMTP_ADDR": "127.0.0.1:1", "MAIL_FROM": "shop@example.com", "PUBLIC_URL": "https://shop.example"}, "reminder")
	relayed.await("metrics of mails are there", func() bool {
		_, metrics := relayed.get("/metrics")
		return strings.Contains(metrics, `cartstream_reminder_mails_total{outcome="sent"} 0`)
	})
	if relayed.logged("stay queued") {
		t.Error("with a relay it says that reminders stay queued")
	}
	relayed.stop(t)
}

func TestItStaysUpWithoutAnyEngineAndGoesOnWhenTheyCome(t *testing.T) {
	servers := map[string]*enginetest.Server{
		"redis": enginetest.EmbeddedRedis(t), "kafka": enginetest.EmbeddedKafka(t), "mongodb": enginetest.EmbeddedMongo(t),
	}
	at := addresses{redis: servers["redis"].Addr, kafka: servers["kafka"].Addr, mongo: servers["mongodb"].Addr}
	for _, s := range servers {
		s.Stop()
	}
	p := start(t, at.env())
	p.await("readiness says unavailable", func() bool {
		code, body := p.get("/readyz")
		return code == 503 && strings.Contains(body, `"unavailable"`) && strings.Count(body, `"down"`) == 3
	})
	if code, _ := p.get("/healthz"); code != 200 {
		t.Errorf("liveness depends on an engine: %d", code)
	}
	servers["kafka"].Start()
	p.await("Kafka takes the change", func() bool { return at.produce(t, event("u1", 1)) == nil })
	p.await("readiness says degraded", func() bool {
		code, body := p.get("/readyz")
		return code == 200 && strings.Contains(body, `"degraded"`)
	})
	servers["redis"].Start()
	servers["mongodb"].Start()
	p.await("MongoDB has the cart", func() bool { return at.stored(t, "u1").Version == 1 })
	p.await("readiness says ready", func() bool { _, body := p.get("/readyz"); return body == allReady })
}

func TestWhatWasInHandWhenItWasKilledIsDoneByTheNext(t *testing.T) {
	at := addresses{redis: enginetest.Redis(t), kafka: enginetest.Kafka(t), mongo: enginetest.Mongo(t)}
	p := start(t, at.env())
	p.await("Kafka takes the change", func() bool { return at.produce(t, event("u1", 1)) == nil })
	p.await("MongoDB has the cart", func() bool { return at.stored(t, "u1").Version == 1 })
	must(t, p.cmd.Process.Kill())
	for version := range int64(40) {
		must(t, at.produce(t, event("u1", version+2)))
	}
	start(t, at.env()).await("MongoDB has the newest cart", func() bool { return at.stored(t, "u1").Version == 41 })
}

// process is the command while it runs.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *transcript
	addr string // of the ops server
	done chan struct{}
}

// start returns once the ops server is there. What is no engine of the test's is away.
func start(t *testing.T, environment map[string]string, args ...string) *process {
	t.Helper()
	all := map[string]string{
		"REDIS_ADDRS": "127.0.0.1:1", "KAFKA_BROKERS": "127.0.0.1:1", "MONGODB_URI": "mongodb://127.0.0.1:1/away",
	}
	for name, value := range environment {
		all[name] = value
	}
	p := &process{t: t, cmd: prepare(t, all, args...), log: &transcript{}, done: make(chan struct{})}
	p.cmd.Stderr = p.log
	must(t, p.cmd.Start())
	go func() {
		_ = p.cmd.Wait() // its state tells
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("it logged:\n%s", p.log)
		}
	})
	p.await("the ops server is there", func() bool { p.addr = p.log.value("addr"); return p.addr != "" })
	return p
}

// stop asks the process to end, as an orchestrator does.
func (p *process) stop(t *testing.T) {
	t.Helper()
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	<-p.done
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it drained with exit code %d", code)
	}
}

func (p *process) logged(text string) bool { return strings.Contains(p.log.String(), text) }

func (p *process) get(path string) (int, string) {
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+p.addr+path, nil)
	must(p.t, err)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	must(p.t, err)
	return response.StatusCode, strings.TrimSpace(string(body))
}

// await polls until the claim holds, and fails when the process ends first.
func (p *process) await(claim string, holds func() bool) {
	p.t.Helper()
	deadline := time.After(40 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-p.done:
			p.t.Fatalf("it ended before it became true that %s", claim)
		case <-deadline:
			p.t.Fatalf("it never became true that %s", claim)
		}
	}
}

// transcript is what a process logged.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *transcript) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *transcript) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// value is the first attribute of that name.
func (l *transcript) value(name string) string {
	for line := range strings.Lines(l.String()) {
		var attributes map[string]any
		if json.Unmarshal([]byte(line), &attributes) == nil {
			if v, ok := attributes[name].(string); ok {
				return v
			}
		}
	}
	return ""
}

// addresses are those of a test's engines.
type addresses struct{ redis, kafka, mongo string }

func (a addresses) env() map[string]string {
	return map[string]string{
		"REDIS_ADDRS": a.redis, "KAFKA_BROKERS": a.kafka, "MONGODB_URI": a.mongo, "TOPIC_PARTITIONS": "4",
		"PATH": os.Getenv("PATH"),
	}
}

func (a addresses) client(t *testing.T) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(a.kafka), kgo.RecordDeliveryTimeout(time.Second),
		kgo.UnknownTopicRetries(0))
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

func (a addresses) produce(t *testing.T, c schemas.CartChanged) error {
	t.Helper()
	return a.client(t).ProduceSync(t.Context(), &kgo.Record{
		Topic: schemas.CartEvents, Key: []byte(c.UserID), Value: schemas.EncodeCartChanged(c),
	}).FirstErr()
}

// stored is the cart in MongoDB, a zero one where there is none.
func (a addresses) stored(t *testing.T, user string) (c schemas.Cart) {
	t.Helper()
	db, err := (&env.MongoDB{URI: env.Secret(a.mongo)}).Open()
	must(t, err)
	defer func() { _ = db.Client().Disconnect(t.Context()) }()
	_ = db.Collection("carts").FindOne(t.Context(), bson.D{{Key: "_id", Value: user}}).Decode(&c) // not there yet
	return c
}

// event is the change that sets the quantity of one book.
func event(user string, version int64) schemas.CartChanged {
	line := schemas.Line{
		BookID: "b1", Title: "Emma", UnitPrice: 1299, Quantity: version, LineTotal: 1299 * version,
		Availability: schemas.Available,
	}
	return schemas.CartChanged{
		UserID: user, Epoch: 1, Version: version, Type: schemas.ItemSet, Whole: version == 1, Items: []schemas.Line{line},
		Totals: schemas.Sum([]schemas.Line{line}), Currency: "EUR", OccurredAt: schemas.Milliseconds(1_700_000_000_000 + version),
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
