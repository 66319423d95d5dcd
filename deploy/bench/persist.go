package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"cartstream/schemas"
)

const (
	hotUsers = 10
	perBulk  = 1000
)

const persistAbout = `
persist: changes of carts with %d lines wait in Kafka; the consumer is frozen until all are there.
  distinct   %d changes, each of another user
  hot        %d changes of %d users
  raw        this process: a find of 1,000 documents, read and applied to, and one unordered bulkWrite of 1,000 replaces under the
             condition that what is stored is older, 2 at a time, one a change, of distinct users; without Kafka
  CPU is the process's own time a change

`

// persistRuns measures how fast changes reach MongoDB.
func persistRuns(ctx context.Context, b *bench) (err error) {
	s, err := b.start(ctx, "persist")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	distinct := b.sized(30_000)
	changes := b.sized(100_000) // of the hot
	p, err := s.preparePersist(ctx, distinct)
	if err != nil {
		return err
	}
	defer p.events.close()
	all, hot, raw := series{name: "distinct users"}, series{name: "10 hot users"}, series{name: "raw"}
	for round := range b.few() {
		if err := p.turn(ctx, p.distinct, distinct, &all); err != nil {
			return err
		}
		if err := p.turn(ctx, p.hot, changes, &hot); err != nil {
			return err
		}
		if err := p.rawTurn(ctx, &raw); err != nil {
			return err
		}
		b.say("persist: round %d of %d: distinct %.0f, hot %.0f, raw %.0f changes/s", round+1, b.few(),
			all.cells[0][round], hot.cells[0][round], raw.cells[0][round])
	}
	t := table{columns: []column{{"changes/s", 0}, {"CPU µs", 1}}}
	t.compare(all, raw)
	t.compare(hot, raw)
	if _, err := fmt.Fprintf(b.out, persistAbout, storyLines, distinct, changes, hotUsers); err != nil {
		return err
	}
	return t.print(b.out)
}

// storyLines is how many lines every cart has.
const storyLines = 5

// story is a cart as its changes make it.
type story struct{ cart schemas.Cart }

// next makes the cart's next change, which is in the cart then; the first one is whole.
func (s *story) next() schemas.CartChanged {
	c := &s.cart
	at := schemas.Milliseconds(1_700_000_000_000 + c.Version)
	if c.Version == 0 {
		c.Epoch, c.Currency = 1_700_000_000_000, "EUR"
		for i := range storyLines {
			c.Items = append(c.Items, schemas.Line{BookID: bookID(i), Title: "The Pickwick Papers", UnitPrice: 1299,
				Availability: schemas.Available})
		}
	}
	c.Version, c.UpdatedAt = c.Version+1, &at
	lines := c.Items
	if c.Version > 1 {
		i := int(c.Version % storyLines)
		lines = c.Items[i : i+1]
	}
	for i := range lines {
		lines[i].Quantity++
		lines[i].LineTotal = lines[i].UnitPrice * lines[i].Quantity
	}
	c.Totals = schemas.Sum(c.Items)
	return schemas.CartChanged{UserID: c.UserID, Epoch: c.Epoch, Version: c.Version, Type: schemas.ItemAdded, Whole: c.Version == 1,
		Items: lines, Totals: c.Totals, Currency: c.Currency, OccurredAt: at}
}

// persisting is Kafka and MongoDB, and the carts whose changes go from one to the other.
type persisting struct {
	*stack
	events        *log
	raw           *mongo.Collection
	distinct, hot []*story
	rawStories    []*story
}

func (s *stack) preparePersist(ctx context.Context, distinct int) (*persisting, error) {
	events, err := s.openLog(ctx, schemas.CartEvents)
	if err != nil {
		return nil, err
	}
	db, err := s.database()
	if err != nil {
		return nil, err
	}
	stories := func(prefix string, n int) []*story {
		all := make([]*story, n)
		for i := range all {
			all[i] = &story{schemas.Cart{UserID: fmt.Sprintf("%s-%06d", prefix, i)}}
		}
		return all
	}
	p := &persisting{stack: s, events: events, raw: db.Collection("raw"),
		distinct: stories("distinct", distinct), hot: stories("hot", hotUsers), rawStories: stories("distinct", distinct)}
	var unused series // the documents are there before it is measured
	return p, errors.Join(p.turn(ctx, p.distinct, distinct, &unused), p.turn(ctx, p.hot, hotUsers, &unused), p.rawTurn(ctx, &unused))
}

// turn lets n changes of the carts wait in Kafka, and measures how fast the consumer is through with them.
func (p *persisting) turn(ctx context.Context, carts []*story, n int, into *series) error {
	const applied = `cartstream_persist_changes_total{outcome="applied"}`
	before, err := metric(ctx, p.consumers.addr, applied)
	if err != nil {
		return err
	}
	pid := p.consumers.cmd.Process.Pid
	if err := freeze(pid); err != nil {
		return err
	}
	err = p.events.send(ctx, n, func(i int) *kgo.Record {
		change := carts[i%len(carts)].next()
		return &kgo.Record{Key: []byte(change.UserID), Value: schemas.EncodeCartChanged(change), Headers: headers(change)}
	})
	if err := errors.Join(err, thaw(pid)); err != nil {
		return err
	}
	began := time.Now()
	used, err := cpu(pid)
	if err != nil {
		return err
	}
	if err := until(ctx, "store the changes", 10*time.Millisecond, func() (bool, error) {
		now, err := metric(ctx, p.consumers.addr, applied)
		return now-before >= float64(n), err
	}); err != nil {
		return err
	}
	elapsed := time.Since(began)
	after, err := cpu(pid)
	into.add(float64(n)/elapsed.Seconds(), us(after-used)/float64(n))
	return err
}

func headers(c schemas.CartChanged) []kgo.RecordHeader {
	var all []kgo.RecordHeader
	for _, h := range c.Headers(schemas.NewTraceParent()) {
		all = append(all, kgo.RecordHeader{Key: h.Key, Value: []byte(h.Value)})
	}
	return all
}

// rawTurn is what MongoDB can do: one change of each cart, without Kafka.
func (p *persisting) rawTurn(ctx context.Context, into *series) error {
	used, err := cpu(os.Getpid())
	if err != nil {
		return err
	}
	began := time.Now()
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range 2 {
		g.Go(func() error {
			for {
				to := int(next.Add(perBulk))
				from := to - perBulk
				if from >= len(p.rawStories) {
					return nil
				}
				if err := bulk(ctx, p.raw, p.rawStories[from:min(to, len(p.rawStories))]); err != nil {
					return err
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	elapsed, n := time.Since(began), float64(len(p.rawStories))
	after, err := cpu(os.Getpid())
	into.add(n/elapsed.Seconds(), us(after-used)/n)
	return err
}

// bulk reads the documents, applies a change to each and writes them.
func bulk(ctx context.Context, carts *mongo.Collection, stories []*story) error {
	ids, changes := make([]string, len(stories)), map[string]schemas.CartChanged{}
	for i, s := range stories {
		ids[i] = s.cart.UserID
		changes[ids[i]] = s.next()
	}
	cursor, err := carts.Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}, mongooptions.Find().SetBatchSize(perBulk))
	if err != nil {
		return err
	}
	var found []schemas.Cart
	if err := cursor.All(ctx, &found); err != nil {
		return err
	}
	if len(found) == 0 { // the first time
		for _, id := range ids {
			found = append(found, schemas.Cart{UserID: id})
		}
	}
	var models []mongo.WriteModel
	for _, c := range found {
		if c.Apply(changes[c.UserID]) != schemas.Applied {
			return fmt.Errorf("%s is at version %d", c.UserID, c.Version)
		}
		models = append(models, mongo.NewReplaceOneModel().SetFilter(older(c)).SetReplacement(c).SetUpsert(c.Version == 1))
	}
	result, err := carts.BulkWrite(ctx, models, mongooptions.BulkWrite().SetOrdered(false))
	if err == nil && result.MatchedCount+result.UpsertedCount != int64(len(stories)) {
		err = fmt.Errorf("%d of %d documents written", result.MatchedCount+result.UpsertedCount, len(stories))
	}
	return err
}

// older is the condition under which a cart replaces a document.
func older(c schemas.Cart) bson.D {
	return bson.D{{Key: "_id", Value: c.UserID}, {Key: "$or", Value: bson.A{
		bson.D{{Key: "epoch", Value: bson.D{{Key: "$lt", Value: c.Epoch}}}},
		bson.D{{Key: "epoch", Value: c.Epoch}, {Key: "version", Value: bson.D{{Key: "$lt", Value: c.Version}}}},
	}}}
}
