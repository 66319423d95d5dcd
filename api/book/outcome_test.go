package book

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"cartstream/schemas"
)

func TestAFailedWrite(t *testing.T) {
	const refused = Applied("refused for what it is")
	lost := mongo.CommandError{Labels: []string{"NetworkError"}, Wrapped: io.EOF}
	for claim, test := range map[string]struct {
		err  error
		want Applied
	}{
		"that found no server was not made":              {topology.ServerSelectionError{Wrapped: context.DeadlineExceeded}, NotApplied},
		"that found no free connection was not made":     {topology.WaitQueueTimeoutError{Wrapped: context.DeadlineExceeded}, NotApplied},
		"on a closed pool was not made":                  {topology.ErrPoolClosed, NotApplied},
		"that could not connect was not made":            {fmt.Errorf("handshake: %w", &net.OpError{Op: "dial", Err: io.EOF}), NotApplied},
		"that a secondary answered was not made":         {mongo.CommandError{Code: 10107}, NotApplied},
		"whose answer was lost may have been made":       {lost, MaybeApplied},
		"that took too long may have been made":          {context.DeadlineExceeded, MaybeApplied},
		"that a shutdown interrupted may have been made": {mongo.CommandError{Code: 11600}, MaybeApplied},
		"that no majority has yet may have been made":    {mongo.WriteException{WriteConcernError: &mongo.WriteConcernError{Code: 64}}, MaybeApplied},
		"to a broken FerretDB may have been made":        {mongo.CommandError{Code: 1}, MaybeApplied},
		"that the server finds wrong is a fault of ours": {mongo.CommandError{Code: 2}, refused},
		"that a client gave up is not MongoDB's trouble": {context.Canceled, refused},
	} {
		t.Run(claim, func(t *testing.T) {
			got := refused
			err := failure("write", outcome(test.err), test.err)
			var away *Unavailable
			if errors.As(err, &away) {
				got = away.Applied
			}
			if got != test.want || errors.Is(err, schemas.ErrUnavailable) != (got != refused) {
				t.Errorf("applied is %q, want %q; the error is %v", got, test.want, err)
			}
		})
	}
}
