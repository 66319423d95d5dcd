package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/deploy/outside"
	"cartstream/schemas"
)

// readFor bounds the reading of a topic.
const readFor = 20 * time.Second

// readTopic returns every committed record of a topic, each partition in order.
func (s *stack) readTopic(ctx context.Context, topic string) ([]*kgo.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, readFor)
	defer cancel()
	return outside.ReadTopic(ctx, s.brokers(), topic)
}

// ends is how far each partition of cart.events.v1 reaches.
func (s *stack) ends(ctx context.Context) (map[int32]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, readFor)
	defer cancel()
	listed, err := s.admin().ListEndOffsets(ctx, schemas.CartEvents)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("where %s ends: %w", schemas.CartEvents, err)
	}
	ends := map[int32]int64{}
	for partition, o := range listed[schemas.CartEvents] {
		ends[partition] = o.Offset
	}
	return ends, nil
}

// idle returns nil when every group of the product has read cart.events.v1 to its end.
func (s *stack) idle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readFor)
	defer cancel()
	lags, err := s.admin().Lag(ctx, groups...)
	if err != nil {
		return fmt.Errorf("how far the groups have read: %w", err)
	}
	for _, name := range groups {
		lag, ok := lags[name]
		if !ok || lag.Error() != nil {
			return fmt.Errorf("how far %s has read: %w", name, lag.Error())
		}
		for partition, at := range lag.Lag[schemas.CartEvents] {
			if at.Err != nil {
				return fmt.Errorf("how far %s has read partition %d: %w", name, partition, at.Err)
			}
			if at.Lag > 0 {
				return fmt.Errorf("%s is %d records behind in partition %d", name, at.Lag, partition)
			}
		}
	}
	return nil
}

// groups read cart.events.v1.
var groups = []string{"persist", "push", "state"}
