// Package persist keeps the carts collection of MongoDB as new as cart.events.v1: one document a cart, for backups,
// reports, and for a Redis that lost everything.
package persist

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"golang.org/x/sync/errgroup"

	"cartstream/api/cart"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// Collection is where the documents are: `_id` is the user, the rest are the fields of schemas.Cart, numbers int64 and
// times dates. It needs no index besides `_id`.
const Collection = "carts"

// concurrentSyncs is how many carts of a batch are read from Redis at once.
const concurrentSyncs = 16

// Carts is where whole carts come from when a change is missing: Redis.
type Carts interface {
	// Get returns the cart under the (epoch, version) of its own last change, or an error where it can't be asked now.
	Get(ctx context.Context, user string) (cart.View, error)
}

// Consumer keeps one MongoDB document per cart, as new as the newest change seen. Older or repeated changes alter
// nothing; a gap is healed from Redis. A record that is given up has its cart brought up to Redis instead.
func Consumer(s *Store) runner.Consumer[schemas.CartChanged] {
	return runner.Consumer[schemas.CartChanged]{
		Group:  "persist",
		Topics: []string{schemas.CartEvents},
		Decode: schemas.DecodeCartChanged,
		Handle: s.Apply,
		Heal:   s.Heal,
	}
}

// Store writes the documents. Whatever is called at once, in any order, by any number of processes: a document never
// goes back to an older (epoch, version).
type Store struct {
	carts  Carts
	writer *writer
	meter  *meter
	log    *slog.Logger
}

// New returns a Store on the database, which it neither waits for nor closes.
func New(db *mongo.Database, carts Carts, reg prometheus.Registerer, log *slog.Logger) *Store {
	// A secondary's older documents would only look like gaps.
	collection := db.Collection(Collection, options.Collection().SetReadPreference(readpref.Primary()))
	m := newMeter(reg)
	w := &writer{carts: collection, meter: m}
	m.watch(reg, w.queued)
	return &Store{carts: carts, writer: w, meter: m, log: log}
}

// Apply brings the documents up to the batch and returns nil once they are as new, by what is in the batch or by what
// Redis has. The error is runner.Permanent or runner.Refused where MongoDB won't take one of the documents, any other
// where an engine can't be asked now; the other documents are written even so.
func (s *Store) Apply(ctx context.Context, batch []runner.Record[schemas.CartChanged]) error {
	writes := byUser(batch)
	if err := s.writer.do(ctx, writes); err != nil {
		return err
	}
	var tasks errgroup.Group
	tasks.SetLimit(concurrentSyncs)
	for _, w := range writes {
		if w.gap != (cart.Tag{}) {
			tasks.Go(func() error {
				s.sync(ctx, w)
				return nil
			})
		}
	}
	_ = tasks.Wait() // each outcome is in its write
	return worst(writes)
}

// byUser groups the changes by user, in order, so that several of one user become one write.
func byUser(batch []runner.Record[schemas.CartChanged]) []*write {
	writes := make([]*write, 0, len(batch))
	of := make(map[string]*write, len(batch))
	for _, rec := range batch {
		w := of[rec.Value.UserID]
		if w == nil {
			w = &write{user: rec.Value.UserID}
			of[w.user] = w
			writes = append(writes, w)
		}
		w.changes = append(w.changes, rec.Value)
	}
	return writes
}

// worst is what a batch failed for: an engine that is away, if any is, so that the batch comes again as it is; only
// then a document that MongoDB refused, upon which it comes again record by record.
func worst(writes []*write) error {
	var refused error
	for _, w := range writes {
		if w.down != nil {
			return w.down
		}
		if refused == nil {
			refused = w.refused
		}
	}
	return refused
}

// Sync reads the user's cart from Redis and makes the document equal to it, unless that is as new already. A user
// without a cart in Redis keeps the document: what is missing there may be lost, never deleted. Errors are those of
// Apply.
func (s *Store) Sync(ctx context.Context, user string) error {
	w := &write{user: user}
	s.sync(ctx, w)
	return worst([]*write{w})
}

// sync is Sync for w's user and adds to its outcome.
func (s *Store) sync(ctx context.Context, w *write) {
	view, err := s.carts.Get(ctx, w.user)
	if errors.Is(err, cart.ErrLost) {
		// Recovery brings the cart back from this very document: nothing newer is to be had, and waiting would hold up
		// the partition for nothing.
		s.log.Warn("a change is missing of a cart that Redis lost", "user", w.user,
			"changeEpoch", w.gap.Epoch, "changeVersion", w.gap.Version)
		s.meter.syncs.WithLabelValues("lost").Inc()
		return
	}
	if err != nil {
		down([]*write{w}, fmt.Errorf("full sync of cart %s: %w", w.user, err))
		return
	}
	if schemas.Newer(w.gap.Epoch, w.gap.Version, view.Epoch, view.Version) {
		// Reconciliation decides which of the two is right.
		s.log.Warn("Redis has less of a cart than Kafka", "user", w.user, "epoch", view.Epoch, "version", view.Version,
			"changeEpoch", w.gap.Epoch, "changeVersion", w.gap.Version)
	}
	if !view.Exists() {
		s.meter.syncs.WithLabelValues("missing").Inc()
		return
	}
	whole := &write{user: w.user, whole: &view.Cart}
	if err := s.writer.do(ctx, []*write{whole}); err != nil {
		whole.down = err
	}
	down([]*write{w}, whole.down)
	refuse([]*write{w}, whole.refused)
	if worst([]*write{whole}) == nil {
		s.meter.syncs.WithLabelValues("done").Inc()
	}
}

// Heal is Sync for the user of a record that was given up.
func (s *Store) Heal(ctx context.Context, parked *kgo.Record) error {
	user := string(parked.Key)
	if !schemas.ValidID(user) {
		return nil // nobody's cart
	}
	return s.Sync(ctx, user)
}
