package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func fetch(err error) kgo.Fetches {
	return kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "t", Partitions: []kgo.FetchPartition{{Err: err}}}}}}
}

func TestOnlyANewClientGetsOver(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err   error
		fatal bool
	}{
		"an authorization that is missing": {kerr.TopicAuthorizationFailed, true},
		"a client that is closed":          {kgo.ErrClientClosed, true},
		"a topic that was made anew":       {kerr.UnknownTopicID, true},
		"not data loss":                    {&kgo.ErrDataLoss{Topic: "t"}, false},
		"not a leader that moved":          {kerr.NotLeaderForPartition, false},
		"not a topic that isn't there":     {kerr.UnknownTopicOrPartition, false},
		"not a group session that ended":   {&kgo.ErrGroupSession{Err: kerr.UnknownMemberID}, false},
		"not a broker that is away":        {fmt.Errorf("dial: %w", errAway), false},
		"not a poll that was told to stop": {context.Canceled, false},
		"not a poll that came to its end":  {context.DeadlineExceeded, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := parts{log: slog.New(slog.DiscardHandler), echo: &echo{}}.faults(fetch(c.err))
			if (err != nil) != c.fatal {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestAFaultThatLastsIsLoggedTwiceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		p := parts{log: slog.New(slog.NewTextHandler(&out, nil)), echo: &echo{}}
		for range 300 { // five minutes
			_ = p.faults(fetch(errAway))
			time.Sleep(time.Second)
		}
		if n := strings.Count(out.String(), "fetch failed"); n != 10 {
			t.Errorf("logged %d times", n)
		}
	})
}

func TestSessionsStartOverUntilToldToStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p := parts{log: slog.New(slog.DiscardHandler)}
		n, last := 0, time.Now()
		err := p.sessions(ctx, func(context.Context) error {
			if pause := time.Since(last); n > 0 && (pause < downFirst || pause > 2*time.Minute) {
				t.Errorf("session %d began %s after the one before", n, pause)
			}
			if n++; n == 30 {
				cancel()
			}
			last = time.Now()
			return errAway
		})
		if err != nil || n != 30 {
			t.Errorf("%d sessions, error %v", n, err)
		}
	})
}

func TestOptionsOfNoUseEndTheRun(t *testing.T) {
	t.Parallel()
	err := parts{}.sessions(t.Context(), func(context.Context) error { return fmt.Errorf("%w: no brokers", errConfig) })
	if !errors.Is(err, errConfig) {
		t.Errorf("error %v", err)
	}
}
