package deadletter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// Group is the consumer that indexes letters, and its consumer group.
const Group = "deadletter"

// Replayer gives a letter's record to its own group once more. A runner.Runner is one.
type Replayer interface {
	// Replay returns nil when the record is done, *runner.Failed when it was given up again, runner.ErrElsewhere where
	// another process has to do it, and any other error where an engine is away.
	Replay(ctx context.Context, letter *kgo.Record) error
	// Replays reports whether this process can replay the group's letters of the partition.
	Replays(group, topic string, partition int32) bool
}

// Config of a Lot.
type Config struct {
	Index    *Index
	Database *mongo.Database // where carts and books are
	Carts    Carts
	// Kafka are the options of the client that reads the whole topic where the index is built anew.
	Kafka []kgo.Opt
	// Groups are all the groups of ours, whether they run in this process or not. Letters of others aren't replayed.
	Groups []string
	// Every is how often what time has overtaken is resolved; 10 s if 0.
	Every      time.Duration
	Registerer prometheus.Registerer
	Log        *slog.Logger
}

// Lot is the parking lot. It may be used by any number of goroutines, and by many processes at once.
type Lot struct {
	index  *Index
	judge  *judge
	kafka  []kgo.Opt
	groups []string
	every  time.Duration
	log    *slog.Logger

	replayer Replayer

	parked   prometheus.Gauge
	resolved *prometheus.CounterVec
}

// New returns a Lot, which waits for no engine.
func New(c Config) *Lot {
	f := promauto.With(c.Registerer)
	if c.Every == 0 {
		c.Every = 10 * time.Second
	}
	return &Lot{
		index: c.Index, kafka: c.Kafka, groups: c.Groups, every: c.Every, log: c.Log,
		judge: &judge{carts: c.Carts, documents: c.Database.Collection("carts"), books: c.Database.Collection("books")},
		parked: f.NewGauge(prometheus.GaugeOpts{
			Name: "cartstream_dead_letters_parked", Help: "Dead letters that wait for somebody, as this process last saw.",
		}),
		resolved: f.NewCounterVec(prometheus.CounterOpts{
			Name: "cartstream_dead_letters_resolved_total", Help: "Dead letters that this process brought to their end, and replays that failed.",
		}, []string{"outcome"}),
	}
}

// ReplayWith says who replays. It is called before Run and the first call.
func (l *Lot) ReplayWith(r Replayer) { l.replayer = r }

// Consumer indexes the letters of cart.dlq.v1. It never parks one itself: whatever can't be read is indexed as far as it
// is known, and what MongoDB doesn't take is tried until it does.
func (l *Lot) Consumer() runner.Consumer[struct{}] {
	return runner.Consumer[struct{}]{
		Group:    Group,
		Topics:   []string{schemas.CartDLQ},
		Nulls:    true, // a null value may be the very reason for a letter
		Decode:   func([]byte) (struct{}, error) { return struct{}{}, nil },
		Handle:   l.take,
		MaxBatch: 100,
	}
}

func (l *Lot) take(ctx context.Context, batch []runner.Record[struct{}]) error {
	letters := make([]letter, len(batch))
	for i, rec := range batch {
		letters[i] = standing(rec.Record)
	}
	return l.index.put(ctx, letters)
}

// standing is a letter as it stands in the topic.
func standing(rec *kgo.Record) letter {
	parsed := parse(rec)
	parsed.At = &spot{int64(rec.Partition), rec.Offset}
	return parsed
}

// own reports whether the letter is of a group that can be replayed, by some process.
func (l *Lot) own(of *letter) bool { return of.Group != Group && slices.Contains(l.groups, of.Group) }

// verdicts returns those of our groups' letters.
func (l *Lot) verdicts(ctx context.Context, letters []*letter, about map[string]subject) map[string]Verdict {
	ours := make([]*letter, 0, len(letters))
	for _, one := range letters {
		if l.own(one) {
			ours = append(ours, one)
		}
	}
	return l.judge.verdicts(ctx, ours, about)
}

// verdictOf returns the letter's, by its id.
func (l *Lot) verdictOf(ctx context.Context, one *letter) map[string]Verdict {
	return l.verdicts(ctx, []*letter{one}, map[string]subject{one.ID: subjectOf(one)})
}

// supersede ends a letter, unless its record failed again meanwhile or somebody else ended it.
func (l *Lot) supersede(ctx context.Context, seen *letter) error {
	done := false
	_, err := l.index.change(ctx, seen.ID, func(now *letter) bool {
		done = now.Status == Parked && now.Request == nil && now.Attempts == seen.Attempts
		if done {
			now.resolve(Superseded, schemas.At(time.Now()), "")
		}
		return done
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if done {
		l.resolved.WithLabelValues(string(Superseded)).Inc()
		l.log.Info("dead letter superseded", "letter", seen.ID, "group", seen.Group, "user", seen.UserID, "topic", seen.Topic,
			"partition", seen.Partition, "offset", seen.Offset)
	}
	return nil
}

// discard gives the letter up. It returns ErrNotFound, or errReplayed for one that was done. Doing it again changes nothing.
func (l *Lot) discard(ctx context.Context, id, by, reason string) (*letter, error) {
	found, err := l.index.read(ctx, id, withoutValue)
	switch {
	case err != nil:
		return nil, err
	case found.Status == Discarded:
		return found, nil
	case found.Status == Replayed:
		return nil, fmt.Errorf("discard letter %s: %w", id, errReplayed)
	}
	entry, err := l.index.audit.begin(ctx, id, by, actionDiscard, reason)
	if err != nil {
		return nil, err
	}
	now, err := l.index.change(ctx, id, func(one *letter) bool {
		one.Request = nil
		one.resolve(Discarded, schemas.At(time.Now()), reason)
		return true
	})
	if err != nil {
		return nil, err
	}
	l.resolved.WithLabelValues(string(Discarded)).Inc()
	l.log.Info("dead letter discarded", "letter", id, "group", now.Group, "by", by)
	return now, l.index.audit.end(ctx, entry, string(Discarded))
}

var (
	errForeign  = errors.New("a letter of a foreign group")
	errReplayed = errors.New("the letter was replayed")
)
