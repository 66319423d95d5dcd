package persist

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"cartstream/consumers/runner"
)

// duplicateKey is the answer to an upsert of a document that somebody else inserted meanwhile.
const duplicateKey = 11000

// send writes what was gathered.
func (f *flight) send(ctx context.Context) {
	models, users := f.models, f.users
	f.models, f.users, f.bytes = nil, nil, 0
	if len(models) == 0 {
		return
	}
	written, answers, err := f.bulk(ctx, models)
	if err != nil {
		for _, writes := range users {
			down(writes, err)
		}
		return
	}
	// With answers to each document, one that nothing is said about was written, or not, because one as new is stored.
	// But FerretDB 1 stops at the first document that it can't write and tells neither which one it was nor what it did
	// before: the next flight sees.
	complete := written+len(answers) == len(models) || len(answers) == 0
	for i, writes := range users {
		e, answered := answers[i]
		switch {
		case answered && e.Code != duplicateKey:
			answer(writes, e)
		case answered, !complete:
			f.unsure = append(f.unsure, writes...)
		}
	}
}

// bulk runs one unordered bulk write. It returns how many documents it wrote and, by index, what the server has against
// the others. After an error nothing is known about any of them.
func (f *flight) bulk(ctx context.Context, models []mongo.WriteModel) (int, map[int]mongo.WriteError, error) {
	start := time.Now()
	result, err := f.carts.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	f.meter.bulk.Observe(time.Since(start).Seconds())
	f.meter.documents.Observe(float64(len(models)))
	written := 0
	if result != nil {
		written = int(result.MatchedCount + result.UpsertedCount)
		f.meter.written.Add(float64(written))
	}
	if err == nil {
		return written, nil, nil
	}
	var refused mongo.BulkWriteException
	if !errors.As(err, &refused) || refused.WriteConcernError != nil {
		return 0, nil, fmt.Errorf("write %d carts: %w", len(models), err)
	}
	answers := make(map[int]mongo.WriteError, len(refused.WriteErrors))
	for _, e := range refused.WriteErrors {
		answers[e.Index] = e.WriteError
	}
	return written, answers, nil
}

// answer gives the writes their outcome by what the server said to them: a refusal of this document, which counts as an attempt, or
// that it can't write now.
func answer(writes []*write, e mongo.WriteError) {
	err := fmt.Errorf("MongoDB refused the cart of %s with code %d: %s", writes[0].user, e.Code, e.Message)
	if cannotNow[e.Code] {
		down(writes, err)
	} else {
		refuse(writes, runner.Refused(err))
	}
}

// cannotNow are the codes that MongoDB and those compatible with it answer to a write for reasons of their own: other
// documents get the same answer, so it says nothing about this one. Whatever is not listed counts as a refusal.
var cannotNow = map[int]bool{
	1:     true, // InternalError: a backend that is away, a disk that is full
	6:     true, // HostUnreachable
	7:     true, // HostNotFound
	8:     true, // UnknownError
	13:    true, // Unauthorized
	18:    true, // AuthenticationFailed
	24:    true, // LockTimeout
	46:    true, // LockBusy
	50:    true, // MaxTimeMSExpired
	63:    true, // StaleShardVersion
	64:    true, // WriteConcernFailed
	89:    true, // NetworkTimeout
	91:    true, // ShutdownInProgress
	100:   true, // UnsatisfiableWriteConcern
	112:   true, // WriteConflict
	133:   true, // FailedToSatisfyReadPreference
	146:   true, // ExceededMemoryLimit
	150:   true, // StaleEpoch
	189:   true, // PrimarySteppedDown
	225:   true, // TransactionTooOld
	262:   true, // ExceededTimeLimit
	279:   true, // ClientDisconnect
	317:   true, // ConnectionPoolExpired
	391:   true, // ReauthenticationRequired
	462:   true, // IngressRequestRateLimitExceeded
	9001:  true, // SocketException
	10058: true, // LegacyNotPrimary
	10107: true, // NotWritablePrimary
	11600: true, // InterruptedAtShutdown
	11602: true, // InterruptedDueToReplStateChange
	13388: true, // StaleConfig
	13435: true, // NotPrimaryNoSecondaryOk
	13436: true, // NotPrimaryOrSecondary
	14031: true, // OutOfDiskSpace
	16500: true, // RequestRateTooLarge
}
