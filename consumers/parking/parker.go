// Package parking finds dead letters a place where they survive: the topic, else MongoDB, else a file, and brings to the
// topic later what had to go elsewhere.
package parking

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/consumers/runner"
)

// Holder keeps letters that the topic doesn't take. Implementations may be used by many goroutines.
type Holder interface {
	// Park returns once all of the letters survive a crash. One that it holds already may come again.
	Park(ctx context.Context, letters []*kgo.Record) error
	// Unwritten returns up to limit letters that the topic isn't known to have, ready to be produced, always in the same
	// order. It leaves out the first of them, as many as skip says.
	Unwritten(ctx context.Context, skip, limit int) ([]*kgo.Record, error)
	// Written notes that Kafka acknowledged them.
	Written(ctx context.Context, letters ...*kgo.Record) error
}

// Place is a Holder by its name in logs and metrics.
type Place struct {
	Name string
	Holder
}

const (
	// topicFor and placeFor bound one try, so that all places are tried within the 30 s that a Park has.
	topicFor = 10 * time.Second
	placeFor = 5 * time.Second
	// avoidFor is for how long the topic isn't tried first once it failed, so that not every letter waits for it in vain.
	avoidFor = 30 * time.Second
	// drainEvery is how often what is held is tried.
	drainEvery = 5 * time.Second
	// page is how many letters are drained at once: each may have some MiB.
	page = 20
)

// Parker stores letters in the topic, or in the first place that takes them. It returns nil once all letters it was given
// survive. It may be used by many goroutines.
type Parker struct {
	topic  runner.Parker
	places []Place
	log    *slog.Logger

	avoid    atomic.Int64 // unix nanoseconds until which the topic isn't tried first
	fallback *prometheus.CounterVec
	held     *prometheus.GaugeVec
}

// New returns a Parker of the topic and the places, which are tried in this order.
func New(topic runner.Parker, log *slog.Logger, reg prometheus.Registerer, places ...Place) *Parker {
	p := &Parker{topic: topic, places: places, log: log,
		fallback: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cartstream_dead_letters_fallback_total", Help: "Dead letters that the topic did not take, by the place that did.",
		}, []string{"place"}),
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cartstream_dead_letters_held", Help: "Dead letters that wait in a place for the topic to take them; at most 20 are counted.",
		}, []string{"place"}),
	}
	reg.MustRegister(p.fallback, p.held)
	for _, place := range places {
		p.fallback.WithLabelValues(place.Name)
		p.held.WithLabelValues(place.Name)
	}
	return p
}

// Park implements runner.Parker. A letter may end up in several places, always under the same id. The error says why each
// place, the topic too, didn't take them.
func (p *Parker) Park(ctx context.Context, letters []*kgo.Record) error {
	avoided := time.Now().UnixNano() < p.avoid.Load()
	var faults []error
	if !avoided {
		err := p.write(ctx, letters)
		if err == nil {
			return nil
		}
		faults = append(faults, fmt.Errorf("topic: %w", err))
	}
	for _, place := range p.places {
		err := within(ctx, placeFor, func(ctx context.Context) error { return place.Park(ctx, letters) })
		if err == nil {
			p.fallback.WithLabelValues(place.Name).Add(float64(len(letters)))
			p.log.WarnContext(ctx, "the topic does not take dead letters: they are held elsewhere", "place", place.Name, "letters", len(letters),
				"error", errors.Join(faults...))
			return nil
		}
		faults = append(faults, fmt.Errorf("%s: %w", place.Name, err))
	}
	if avoided {
		err := p.write(ctx, letters)
		if err == nil {
			return nil
		}
		faults = append(faults, fmt.Errorf("topic: %w", err))
	}
	return fmt.Errorf("no place takes dead letters: %w", errors.Join(faults...))
}

// write gives the topic its time, and notes whether it is of use.
func (p *Parker) write(ctx context.Context, letters []*kgo.Record) error {
	err := within(ctx, topicFor, func(ctx context.Context) error { return p.topic.Park(ctx, letters) })
	if err == nil {
		p.avoid.Store(0)
	} else {
		p.avoid.Store(time.Now().Add(avoidFor).UnixNano())
	}
	return err
}

func within(ctx context.Context, d time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return do(ctx)
}
