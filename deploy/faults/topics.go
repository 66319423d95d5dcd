package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/schemas"
)

// readFor bounds the reading of a topic.
const readFor = 20 * time.Second

// readTopic returns every committed record of a topic, each partition in order.
func (s *stack) readTopic(ctx context.Context, topic string) ([]*kgo.Record, error) {
	// Markers of transactions are kept, so that the last offset of a partition is always seen.
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers()...), kgo.ConsumeTopics(topic), kgo.KeepControlRecords(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, readFor)
	defer cancel()
	ends, err := kadm.NewClient(client).ListCommittedOffsets(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("where %s ends: %w", topic, err)
	}
	open := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err != nil {
			err = fmt.Errorf("where %s/%d ends: %w", topic, o.Partition, o.Err)
		}
		if o.Offset > 0 {
			open[o.Partition] = o.Offset
		}
	})
	var records []*kgo.Record
	for len(open) > 0 && err == nil {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%s: partitions %v were not read to their ends within %v", topic, open, readFor)
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				if !r.Attrs.IsControl() {
					records = append(records, r)
				}
				if r.Offset >= open[p.Partition]-1 {
					delete(open, p.Partition)
				}
			}
		})
	}
	return records, err
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
			if at.Err != nil || at.Lag > 0 {
				return fmt.Errorf("%s is %d records behind in partition %d: %w", name, at.Lag, partition, at.Err)
			}
		}
	}
	return nil
}

// groups read cart.events.v1.
var groups = []string{"persist", "push", "state"}
