package book

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"
)

// retryAfter is when a caller may try again: a new primary is elected in some seconds, a network blip is over sooner.
const retryAfter = 2 * time.Second

// notPrimary are the answers of a server that takes no writes: the request was not executed.
var notPrimary = []int{10107, 13435, 13436} // NotWritablePrimary, NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary

// away are the answers of a server, or of what stands before it, that can't serve now, whatever the request.
var away = append([]int{
	1,        // InternalError: what FerretDB says when its own database is gone
	6, 7, 89, // HostUnreachable, HostNotFound, NetworkTimeout
	24, 50, 262, // LockTimeout, MaxTimeMSExpired, ExceededTimeLimit
	64, 91, 189, // WriteConcernFailed, ShutdownInProgress, PrimarySteppedDown
	133, 134, // FailedToSatisfyReadPreference, ReadConcernMajorityNotAvailableYet
	202, 9001, // NetworkInterfaceExceededTimeLimit, SocketException
	11600, 11602, // InterruptedAtShutdown, InterruptedDueToReplStateChange
	112, 13388, 63, // WriteConflict, StaleConfig, StaleShardVersion
}, notPrimary...)

// failure adds what was tried to an error of the MongoDB driver, and makes it *Unavailable unless the server refused the
// request for what it is.
func failure(what string, applied Applied, err error) error {
	err = fmt.Errorf("%s: %w", what, err)
	if !isAway(err) {
		return err
	}
	return &Unavailable{Applied: applied, RetryAfter: retryAfter, Err: err}
}

// unapplied notes that an error came before anything was written.
func unapplied(err error) error {
	var u *Unavailable
	if errors.As(err, &u) {
		u.Applied = NotApplied
	}
	return err
}

func isAway(err error) bool {
	if mongo.IsNetworkError(err) || mongo.IsTimeout(err) || errors.Is(err, mongo.ErrClientDisconnected) ||
		errors.Is(err, context.DeadlineExceeded) || isUnsent(err) {
		return true
	}
	var refused mongo.ServerError
	return errors.As(err, &refused) && slices.ContainsFunc(away, refused.HasErrorCode)
}

// outcome says what became of a write that failed.
func outcome(err error) Applied {
	var refused mongo.ServerError
	if isUnsent(err) || errors.As(err, &refused) && slices.ContainsFunc(notPrimary, refused.HasErrorCode) {
		return NotApplied
	}
	return MaybeApplied
}

// isUnsent reports whether there was no connection to send anything on. The driver never says so of a second attempt
// whose first one may have arrived.
func isUnsent(err error) bool {
	var (
		none   topology.ServerSelectionError
		queued topology.WaitQueueTimeoutError
		closed topology.PoolError
		paused driver.RetryablePoolError // until a server that went away is back
		dialed *net.OpError
	)
	return errors.As(err, &none) || errors.As(err, &queued) || errors.As(err, &closed) || errors.As(err, &paused) ||
		errors.As(err, &dialed) && dialed.Op == "dial"
}
