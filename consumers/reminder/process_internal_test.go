package reminder

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/consumers/runner"
	"cartstream/schemas"
	"cartstream/schemas/env"
	"cartstream/schemas/link"
)

// process is a Mailer of the world, as a process has it.
type process struct {
	*Mailer
	reg *prometheus.Registry
}

func (w *world) process(t *testing.T) process {
	t.Helper()
	links, err := link.New(env.Links{Secret: "l1nk"}, env.JWT{})
	if err != nil {
		t.Fatal(err)
	}
	composer, err := newComposer("shop@example.com", "https://api.shop.example", "https://shop.example", links)
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	m, err := assemble(&Mailer{contacts: w, optOuts: w, ledger: w, deferrals: w, relay: w, composer: composer, log: slog.New(slog.DiscardHandler)}, reg)
	if err != nil {
		t.Fatal(err)
	}
	m.ParkWith(w)
	return process{m, reg}
}

// run runs the process until the test, or stop, ends it.
func (p process) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(stop)
	return stop
}

func recordOf(user string, version int64) runner.Record[schemas.Reminder] {
	r := schemas.Reminder{UserID: user, Epoch: 1, Version: version, IdleSince: schemas.At(time.Now())}
	return runner.Record[schemas.Reminder]{Value: r, Record: &kgo.Record{
		Topic: schemas.CartReminders, Partition: 3, Offset: 41, Key: []byte(user), Value: schemas.EncodeReminder(r),
		Headers: []kgo.RecordHeader{{Key: "ce_id", Value: []byte(fmt.Sprint(user, ":1:", version))}},
	}}
}

// handle gives the user's reminder of their first version to the consumer.
func (p process) handle(t *testing.T, user string) error {
	t.Helper()
	return p.Handle(t.Context(), []runner.Record[schemas.Reminder]{recordOf(user, 1)})
}

func (p process) defers(t *testing.T, user string) {
	t.Helper()
	if err := p.handle(t, user); err != nil {
		t.Fatalf("it isn't deferred: %v", err)
	}
}

// held fails the test unless the error means: again, for as long as it takes.
func held(t *testing.T, err error) {
	t.Helper()
	if err == nil || runner.IsPermanent(err) || runner.IsRefused(err) {
		t.Fatalf("got %v, want an error that parks nothing and counts for nothing", err)
	}
}

// metric is the value of a counter or gauge, of those with that outcome where one is told.
func (p process) metric(t *testing.T, name, outcome string) (value int) {
	t.Helper()
	families, err := p.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (outcome == "" || m.GetLabel()[0].GetValue() == outcome) {
				value += int(m.GetCounter().GetValue() + m.GetGauge().GetValue())
			}
		}
	}
	return value
}

func (p process) tried(t *testing.T, outcome string) int {
	t.Helper()
	return p.metric(t, "cartstream_reminder_deferred_attempts_total", outcome)
}

func (p process) shown(t *testing.T) int {
	t.Helper()
	return p.metric(t, "cartstream_reminder_deferred", "")
}

// What a relay says.
var (
	full    = &failure{verdict: forNow, stage: "RCPT", reply: "452 4.2.2"}
	silent  = &failure{verdict: unanswered, stage: "the content"}
	cutOff  = &failure{verdict: broke, stage: atRcpt}
	broken  = &failure{verdict: away, stage: "RCPT", reply: "451 4.3.0"}
	unknown = &failure{verdict: forGood, stage: "RCPT", reply: "550 5.1.1"}
)

func says(f *failure) func(string) error { return func(string) error { return f } }
