package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// caughtUpWithin bounds how long what is behind the carts may take for what a turn left.
const caughtUpWithin = 5 * time.Minute

// caughtUp waits until no outbox holds an entry and every consumer group has what Kafka has.
func (s *stack) caughtUp(ctx context.Context) (err error) {
	boss, err := sign("boss", "admin")
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(s.kafka.Brokers(), ",")...))
	if err != nil {
		return err
	}
	defer client.Close()
	kafka := kadm.NewClient(client)
	for until := time.Now().Add(caughtUpWithin); ; {
		left, err := s.leftBehind(ctx, boss, kafka)
		switch {
		case err != nil:
			return err
		case left == 0:
			return nil
		case time.Now().After(until):
			return fmt.Errorf("%d changes still wait for the relay or a consumer", left)
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *stack) leftBehind(ctx context.Context, boss string, kafka *kadm.Client) (int64, error) {
	page, err := request(ctx, http.MethodGet, "http://"+s.consumers.addr+"/admin/outbox", boss, "")
	if err != nil {
		return 0, err
	}
	var outbox struct{ Pending int64 }
	if err := json.Unmarshal(page, &outbox); err != nil {
		return 0, fmt.Errorf("/admin/outbox: %w", err)
	}
	if outbox.Pending > 0 {
		return outbox.Pending, nil
	}
	groups, err := kafka.Lag(ctx)
	if err = errors.Join(err, groups.Error()); err != nil {
		return 0, fmt.Errorf("ask how far the consumers are: %w", err)
	}
	var left int64
	for _, g := range groups {
		left += g.Lag.Total()
	}
	return left, nil
}
