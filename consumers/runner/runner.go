// Package runner is what every consumer needs and none should write again: poll, keep the order, retry, dead-letter,
// commit, drain. A consumer is a declared value, Consumer or Transactional; a Runner runs a table of them.
//
// What it guarantees:
//
//   - Records of a partition are handled in order, one batch at a time; so are those of a key.
//   - An offset is committed once its record is done, or parked and healed. A crash repeats records, it never skips one.
//   - A record that can't succeed is stored as a dead letter; only that one, and no other user waits for more than its
//     attempts. An outage parks nothing: it stops the partition, with growing waits, for as long as it takes.
//   - One partition's trouble stops no other partition.
//   - A rebalance waits for a batch in hand for 8 s at most, and for none that is waiting to be tried again.
package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
)

// Config is what all consumers of a process share.
type Config struct {
	// Kafka are the options of every client: brokers, TLS, SASL. They win over the Runner's own.
	Kafka []kgo.Opt
	// DeadLetters is the topic for records that can't succeed.
	DeadLetters string
	// Parker stores dead letters; nil writes them to the topic and waits for as long as that takes. Those of Transactional
	// consumers are part of the transaction, and the Parker's where it can't be written with them.
	Parker Parker
	// Logger, nil for silence.
	Logger *slog.Logger
	// Registerer of the metrics, nil for none.
	Registerer prometheus.Registerer
	// Tracer of the spans, nil for none: see README.
	Tracer trace.Tracer
}

// ErrUnknownConsumer says that no consumer of that name runs here.
var ErrUnknownConsumer = errors.New("unknown consumer")

// Runner runs consumers. Its methods may be called from any goroutine.
type Runner struct {
	log    *slog.Logger
	loops  map[string]loop
	gates  map[string]*gate
	parts  map[string]parts
	letter *LetterTopic // nil with a Parker
}

// New checks the consumers and the options. It dials nothing: engines may be away.
func New(cfg Config, consumers ...Runnable) (*Runner, error) {
	if cfg.DeadLetters == "" {
		return nil, errors.New("runner: no topic for dead letters")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	r := &Runner{log: cfg.Logger, loops: map[string]loop{}, gates: map[string]*gate{}, parts: map[string]parts{}}
	if cfg.Parker == nil {
		if r.letter, err = NewLetterTopic(cfg.Kafka); err != nil {
			return nil, err
		}
		cfg.Parker = r.letter
	}
	for _, c := range consumers {
		if err := r.add(cfg, m, c); err != nil {
			r.close()
			return nil, err
		}
	}
	return r, nil
}

func (r *Runner) add(cfg Config, m *metrics, c Runnable) error {
	if err := c.check(); err != nil {
		return fmt.Errorf("runner: %w", err)
	}
	name := c.Name()
	if r.loops[name] != nil {
		return fmt.Errorf("runner: two consumers are named %s", name)
	}
	g := newGate()
	p := parts{
		name: name, kafka: cfg.Kafka, parker: cfg.Parker, letters: cfg.DeadLetters,
		log: cfg.Logger.With("consumer", name), gate: g, meter: m.of(name), echo: &echo{},
		tracer: cfg.Tracer,
	}
	l := c.build(p)
	if cfg.Registerer != nil {
		if err := cfg.Registerer.Register(lagGauge(name, l.lag)); err != nil {
			return fmt.Errorf("register consumer metrics: %w", err)
		}
	}
	r.loops[name], r.gates[name], r.parts[name] = l, g, p
	return nil
}

// parts are what the Runner gives to a consumer's loop.
type parts struct {
	name    string
	kafka   []kgo.Opt
	parker  Parker
	letters string
	log     *slog.Logger
	gate    *gate
	meter   *meter
	echo    *echo
	tracer  trace.Tracer
}

// parked says that a letter is stored.
func (p parts) parked(f failure) {
	p.meter.parked.WithLabelValues(f.class).Inc()
	p.log.Warn("record parked", "topic", f.record.Topic, "partition", f.record.Partition, "offset", f.record.Offset,
		"class", f.class, "attempts", f.attempts, "error", f.err, "letter", f.id(p.name))
}

// Run runs the consumers until ctx ends, then drains them: each finishes the batch in hand within 8 s, commits and
// leaves its group. It waits for engines and topics that aren't there. An error means that the options are of no use.
// A Runner runs once.
func (r *Runner) Run(ctx context.Context) error {
	defer r.close()
	g, ctx := errgroup.WithContext(ctx)
	for name, l := range r.loops {
		g.Go(func() error {
			if err := l.run(ctx); err != nil {
				return fmt.Errorf("consumer %s: %w", name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (r *Runner) close() {
	if r.letter != nil {
		r.letter.Close()
	}
}

// Pause keeps the consumer from beginning a batch, in this process, until Resume. What is in hand ends. It stays in its
// group with its partitions. Pausing twice is pausing once.
func (r *Runner) Pause(name string) error {
	g, ok := r.gates[name]
	if !ok {
		return fmt.Errorf("%w: %s", ErrUnknownConsumer, name)
	}
	g.pause()
	r.log.Info("consumer paused", "consumer", name)
	return nil
}

// Resume ends a Pause.
func (r *Runner) Resume(name string) error {
	g, ok := r.gates[name]
	if !ok {
		return fmt.Errorf("%w: %s", ErrUnknownConsumer, name)
	}
	g.resume()
	r.log.Info("consumer resumed", "consumer", name)
	return nil
}
