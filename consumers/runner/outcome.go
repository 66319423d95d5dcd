package runner

import (
	"errors"
	"fmt"
)

// Permanent marks an error of a record that can never succeed, for what the record is. The record becomes a dead letter
// of class ClassRejected at once. Returned for a batch, it says that one of its records is like that: the batch is then
// tried record by record, so that only that one is parked. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// Refused marks an error that is a server's answer to this very record, and that may yet pass: it still means "try
// again", but it counts. After 10 attempts the record becomes a dead letter of class ClassExhausted. Whatever says
// nothing about the record (a network error, a time-out, a server that is loading or not primary) must not be marked: it
// is tried for as long as it takes. Returned for a batch, it starts trying record by record. Refused(nil) is nil.
func Refused(err error) error {
	if err == nil {
		return nil
	}
	return &refusedError{err}
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// The classes of a dead letter.
const (
	// ClassUndecodable: the value is null or Decode refused it.
	ClassUndecodable = "undecodable"
	// ClassRejected: Handle returned Permanent.
	ClassRejected = "rejected"
	// ClassExhausted: Handle returned Refused each of 10 times, or took the record over and gave it up later.
	ClassExhausted = "exhausted"
)

// maxAttempts is how often a record is refused before it is parked.
const maxAttempts = 10

// errNull is why a record without a value is undecodable.
var errNull = errors.New("the value is null")

// verdict is what an error of Handle means.
type verdict int

const (
	done verdict = iota
	down         // an engine can't be asked: try again, for as long as it takes
	refused
	rejected
)

// IsPermanent reports whether err says that a record can never succeed.
func IsPermanent(err error) bool {
	var e *permanentError
	return errors.As(err, &e)
}

// IsRefused reports whether err counts as one of a record's attempts.
func IsRefused(err error) bool {
	var e *refusedError
	return errors.As(err, &e)
}

func judge(err error) verdict {
	switch {
	case err == nil:
		return done
	case IsPermanent(err):
		return rejected
	case IsRefused(err):
		return refused
	}
	return down
}

// panicked is a panic of Handle or Decode: a bug that one record brings out. It counts as a refusal, so that it neither
// stops the process nor its partition for good.
func panicked(p any) error { return Refused(fmt.Errorf("panic: %v", p)) }
