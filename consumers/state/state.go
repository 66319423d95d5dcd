// Package state keeps cart.state.v1, the compacted topic in which anybody finds every cart as it is.
package state

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"cartstream/api/cart"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// readers is how many carts are read at once. They share pipelines.
const readers = 64

// settled is the age from which a difference between a change and Redis is no longer watched: by then a change that Redis
// holds has long been relayed, and one that it doesn't was compared by the nightly sweep.
const settled = 24 * time.Hour

// Carts is where carts are read. A cart.Store is one.
type Carts interface {
	// Get returns the cart under the (epoch, version) of its own last change, or an error with schemas.ErrUnavailable
	// where it can't be asked now. Any other error says that what Redis holds of this cart can't be read.
	Get(ctx context.Context, user string) (cart.View, error)
}

// Consumer publishes a user's cart after each change of it, in one transaction with its offsets. It publishes what Redis
// holds only where that is the change's own version, so never what might still be lost. Where Redis holds another one, the
// change is held until the cart's next change comes, which takes its place, or until Redis holds this very version (again):
// it may lose a newer one that Kafka never had, and recovery may bring this one back, and neither emits anything. So the
// topic never goes back, and its newest record of a user ends as the user's cart.
//
// Whoever's cart in Redis is older than the held change is named to suspect each time it is looked at: unless recovery still
// brings the change back, nothing else does before the cart's next change. suspect must not block.
func Consumer(carts Carts, suspect func(user string), reg prometheus.Registerer) runner.Transactional[schemas.CartChanged] {
	records := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "cartstream_state_changes_total",
		Help: "Changes after which the cart was published, or not, because Redis held another version or a later change of the batch was the same cart's. A change that is held counts each time it is looked at.",
	}, []string{"outcome"})
	s := &state{carts: carts, suspect: suspect, published: records.WithLabelValues("published"), skipped: records.WithLabelValues("skipped")}
	return runner.Transactional[schemas.CartChanged]{
		Group:  "state",
		Topics: []string{schemas.CartEvents},
		Decode: schemas.DecodeCartChanged,
		Handle: s.handle,
		Heal:   s.heal,
	}
}

type state struct {
	carts              Carts
	suspect            func(user string)
	published, skipped prometheus.Counter
	seen               seen
}

// handle returns the newest state of each cart that the batch changed.
func (s *state) handle(ctx context.Context, batch []runner.Record[schemas.CartChanged]) ([]*kgo.Record, error) {
	newest := make(map[string]int, len(batch))
	for i, rec := range batch {
		user := rec.Value.UserID
		at, seen := newest[user]
		if !seen || schemas.Newer(rec.Value.Epoch, rec.Value.Version, batch[at].Value.Epoch, batch[at].Value.Version) {
			newest[user] = i
		}
	}
	found := make([]*kgo.Record, len(batch))
	reading, ctx := errgroup.WithContext(ctx)
	reading.SetLimit(readers)
	for _, i := range newest {
		// A newer change that Kafka has was published or is held, or its turn comes.
		overtaken := s.seen.overtaken(batch[i].Value)
		reading.Go(func() error {
			v, err := s.read(ctx, batch[i].Value.UserID)
			if err != nil {
				return err
			}
			if c := batch[i].Value; v.Epoch == c.Epoch && v.Version == c.Version {
				found[i] = record(v.Cart, traceParent(batch[i].Record))
			} else if !overtaken && open(v, c) {
				batch[i].Hold()
				if schemas.Newer(c.Epoch, c.Version, v.Epoch, v.Version) {
					s.suspect(c.UserID)
				}
			}
			return nil
		})
	}
	if err := reading.Wait(); err != nil {
		return nil, err
	}
	states := make([]*kgo.Record, 0, len(newest))
	for _, r := range found {
		if r != nil {
			states = append(states, r)
		}
	}
	s.published.Add(float64(len(states)))
	s.skipped.Add(float64(len(batch) - len(states)))
	return states, nil
}

// open says that the change may still become the cart's newest, though Redis holds another one.
func open(v cart.View, c schemas.CartChanged) bool {
	newer := c.OccurredAt.Time
	if v.UpdatedAt != nil && v.UpdatedAt.After(newer) {
		newer = v.UpdatedAt.Time
	}
	return time.Since(newer) < settled
}

// heal publishes the cart of a record that nobody can read: its key still says whose it is.
func (s *state) heal(ctx context.Context, parked *kgo.Record) ([]*kgo.Record, error) {
	user := string(parked.Key)
	if !schemas.ValidID(user) {
		return nil, nil
	}
	v, err := s.read(ctx, user)
	if err != nil || !v.Exists() {
		return nil, err
	}
	return []*kgo.Record{record(v.Cart, traceParent(parked))}, nil
}

// read is Get. One cart that can't be read, though Redis answers, must not hold up the others of its partition.
func (s *state) read(ctx context.Context, user string) (cart.View, error) {
	v, err := s.carts.Get(ctx, user)
	if err != nil && ctx.Err() == nil && !errors.Is(err, schemas.ErrUnavailable) {
		return v, runner.Refused(err)
	}
	return v, err
}

// record is a cart as the topic holds it, under the epoch of its own last change.
func record(c schemas.Cart, trace string) *kgo.Record {
	var at schemas.Time
	if c.UpdatedAt != nil {
		at = *c.UpdatedAt
	}
	r := &kgo.Record{Topic: schemas.CartState, Key: []byte(c.UserID), Value: schemas.EncodeCart(c)}
	for _, h := range schemas.Headers(schemas.CartVersionID(c.UserID, c.Epoch, c.Version), schemas.StateType, c.UserID, at, trace) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: []byte(h.Value)})
	}
	return r
}

// traceParent is the trace context that a record carries, "" for none.
func traceParent(r *kgo.Record) string {
	for _, h := range r.Headers {
		if h.Key == schemas.HeaderTraceParent {
			return string(h.Value)
		}
	}
	return ""
}
