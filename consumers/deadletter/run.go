package deadletter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"cartstream/consumers/runner"
	"cartstream/schemas"
)

const (
	// passLetters bounds what one pass looks at; the next goes on there.
	passLetters = 500
	// keep is how long a letter stays after its end: as long as in the topic.
	keep = 30 * 24 * time.Hour
	// takenFor is how long the process that took a request is waited for.
	takenFor = 2 * replayFor
	// rebuildIdle is how long the topic may say nothing while it is read to its end.
	rebuildIdle = 30 * time.Second
)

// Run resolves what time has overtaken, does the replays that wait for this process, and builds the index anew where it
// isn't whole, until ctx ends. It returns nil, whatever is away meanwhile. It belongs into every process: a replay may wait
// for the one that runs its group.
func (l *Lot) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return repeat(ctx, time.Second, l.complain(l.serve)) })
	after := ""
	g.Go(func() error {
		return repeat(ctx, l.every, l.complain(func(ctx context.Context) (err error) {
			if err := l.complete(ctx); err != nil {
				return err
			}
			after, err = l.pass(ctx, after)
			return err
		}))
	})
	return g.Wait()
}

// repeat calls do now and then again and again.
func repeat(ctx context.Context, every time.Duration, do func(context.Context)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		do(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// complain logs what fails, but what goes on failing only now and then.
func (l *Lot) complain(do func(context.Context) error) func(context.Context) {
	var last time.Time
	return func(ctx context.Context) {
		if err := do(ctx); err != nil && ctx.Err() == nil && time.Since(last) > 30*time.Second {
			last = time.Now()
			l.log.Warn("dead letters wait", "error", err)
		}
	}
}

// serve does the replays that wait for this process.
func (l *Lot) serve(ctx context.Context) error {
	waiting := bson.D{{Key: "request.at", Value: bson.D{{Key: "$gt", Value: schemas.Milliseconds(0)}}}}
	letters, _, err := l.index.scan(ctx, waiting, bson.D{{Key: "request.at", Value: 1}}, passLetters, func(*letter) {})
	if err != nil {
		return err
	}
	for _, one := range letters {
		if !l.replayer.Replays(one.Group, one.Topic, int32(one.Partition)) { //nolint:gosec // it was one, see parse
			continue
		}
		if err := l.serveOne(ctx, one.ID); err != nil {
			return err
		}
	}
	return nil
}

// serveOne does a replay that waits, unless another process is at it.
func (l *Lot) serveOne(ctx context.Context, id string) error {
	now := time.Now()
	mine := false
	taken, err := l.index.change(ctx, id, func(one *letter) bool {
		mine = one.Request != nil && now.After(one.Request.TakenUntil.Time)
		if mine {
			one.Request.TakenUntil = schemas.At(now.Add(takenFor))
		}
		return mine
	})
	if err != nil || !mine {
		return err
	}
	one, err := l.index.find(ctx, id)
	if err != nil {
		return err
	}
	if _, err = l.attempt(ctx, one, taken.Request.Entry); err == nil {
		return nil
	}
	_, undone := l.index.change(ctx, id, func(one *letter) bool {
		waits := one.Request != nil
		if waits { // for somebody else, or for an engine
			one.Request.TakenUntil = schemas.Time{}
		}
		return waits
	})
	if errors.Is(err, runner.ErrElsewhere) {
		err = nil
	}
	return errors.Join(err, undone)
}

// pass resolves the superseded among the next parked letters, forgets letters that ended long ago, and returns where the
// next pass goes on.
func (l *Lot) pass(ctx context.Context, after string) (string, error) {
	about := map[string]subject{}
	letters, more, err := l.index.next(ctx, Filter{Status: Parked}, after, passLetters, func(one *letter) { about[one.ID] = subjectOf(one) })
	if err != nil {
		return after, err
	}
	verdicts := l.verdicts(ctx, letters, about)
	for _, one := range letters {
		if verdicts[one.ID] == Outdated {
			if err := l.supersede(ctx, one); err != nil {
				return after, err
			}
		}
		after = one.ID
	}
	if more {
		return after, nil
	}
	old := bson.D{{Key: "resolvedAt", Value: bson.D{{Key: "$lt", Value: schemas.At(time.Now().Add(-keep))}}}}
	if _, err := l.index.letters.DeleteMany(ctx, old); err != nil {
		return "", unavailable("forget old letters", err)
	}
	parked, err := l.index.letters.CountDocuments(ctx, bson.D{{Key: "status", Value: Parked}})
	if err != nil {
		return "", unavailable("count parked letters", err)
	}
	l.parked.Set(float64(parked))
	return "", nil
}

// complete makes sure that the index holds the whole topic: where it was dropped, or never was there, it creates the
// indexes and reads the topic from its beginning.
func (l *Lot) complete(ctx context.Context) error {
	id := bson.D{{Key: "_id", Value: marker}}
	err := l.index.letters.FindOne(ctx, id).Err()
	switch {
	case err == nil:
		return nil
	case !errors.Is(err, mongo.ErrNoDocuments):
		return unavailable("look at the index of letters", err)
	}
	if err := l.index.createIndexes(ctx); err != nil {
		return err
	}
	read, err := l.rebuild(ctx)
	if err != nil {
		return fmt.Errorf("build the index of letters: %w", err)
	}
	if _, err := l.index.letters.InsertOne(ctx, id); err != nil && !mongo.IsDuplicateKeyError(err) {
		return unavailable("index letters", err)
	}
	l.log.Info("index of dead letters is whole", "letters", read)
	return nil
}

// createIndexes creates one at a time, which every MongoDB-compatible engine can.
func (x *Index) createIndexes(ctx context.Context) error {
	newest := bson.D{{Key: "lastFailedAt", Value: -1}, {Key: "_id", Value: -1}}
	keys := []bson.D{newest, {{Key: "request.at", Value: 1}}, {{Key: "unwritten", Value: 1}}, {{Key: "resolvedAt", Value: 1}}}
	for _, field := range []string{"status", "group", "userId"} {
		keys = append(keys, append(bson.D{{Key: field, Value: 1}}, newest...))
	}
	for _, key := range keys {
		if _, err := x.letters.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: key}); err != nil {
			return unavailable("index letters", err)
		}
	}
	if _, err := x.audit.entries.Indexes().CreateOne(ctx, mongo.IndexModel{
		Keys: bson.D{{Key: "letter", Value: 1}, {Key: "at", Value: 1}}, Options: options.Index(),
	}); err != nil {
		return unavailable("index the audit trail", err)
	}
	return nil
}

// rebuild indexes everything that the topic holds now, and returns how many records that was.
func (l *Lot) rebuild(ctx context.Context) (read int, err error) {
	// Control records tell where the topic ends, also behind letters of transactions that came to nothing.
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.ConsumeTopics(schemas.CartDLQ), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
	}, l.kafka...)...)
	if err != nil {
		return 0, fmt.Errorf("kafka options: %w", err)
	}
	defer cl.Close()
	behind, err := partitions(ctx, cl)
	if err != nil {
		return 0, err
	}
	for len(behind) > 0 {
		poll, cancel := context.WithTimeout(ctx, rebuildIdle)
		fetches := cl.PollRecords(poll, pageOfReplays)
		err := poll.Err()
		cancel()
		fetches.EachError(func(_ string, _ int32, fault error) { err = errors.Join(err, fault) })
		if err != nil {
			return read, fmt.Errorf("read %s: %w", schemas.CartDLQ, err)
		}
		var letters []letter
		fetches.EachRecord(func(rec *kgo.Record) {
			if rec.Offset+1 >= behind[rec.Partition] {
				delete(behind, rec.Partition)
			}
			if !rec.Attrs.IsControl() {
				letters = append(letters, standing(rec))
			}
		})
		if len(letters) == 0 {
			continue
		}
		if err := l.index.put(ctx, letters); err != nil {
			return read, err
		}
		read += len(letters)
	}
	return read, nil
}

// partitions returns those of the topic that hold something, and where each ends.
func partitions(ctx context.Context, cl *kgo.Client) (map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, rebuildIdle)
	defer cancel()
	admin := kadm.NewClient(cl)
	ends, err := admin.ListCommittedOffsets(ctx, schemas.CartDLQ)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the end of %s: %w", schemas.CartDLQ, err)
	}
	starts, err := admin.ListStartOffsets(ctx, schemas.CartDLQ)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the beginning of %s: %w", schemas.CartDLQ, err)
	}
	behind := map[int32]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		if start, ok := starts.Lookup(end.Topic, end.Partition); ok && start.Offset < end.Offset {
			behind[end.Partition] = end.Offset
		}
	})
	return behind, nil
}
