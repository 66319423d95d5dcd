package main

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/schemas"
)

// plant writes a record that nobody can decode into cart.events.v1: it has to end as a letter of every group, and nothing
// else may.
func (st *strikes) plant(ctx context.Context) error {
	_, err := st.planted(ctx)
	return err
}

// planted is plant, and returns the record as it stands in Kafka.
func (st *strikes) planted(ctx context.Context) (*kgo.Record, error) {
	value := fmt.Sprintf("poison %d", st.random.Uint64())
	r := &kgo.Record{Topic: schemas.CartEvents, Key: []byte(userID(st.random.IntN(users))), Value: []byte(value)}
	st.poison[value] = true
	r.Partition = int32(schemas.Partition(string(r.Key), partitions)) //nolint:gosec // 16 of them
	if err := st.stack.log.ProduceSync(ctx, r).FirstErr(); err != nil {
		return nil, fmt.Errorf("plant poison: %w", err)
	}
	return r, nil
}

// letters finds what is in the parking lot and shouldn't be. The error is what should be there and isn't: a letter that
// the topic didn't take comes to it later.
func (s *stack) letters(ctx context.Context, poison map[string]bool, f *faults) error {
	records, err := s.readTopic(ctx, schemas.CartDLQ)
	if err != nil {
		return err
	}
	found := map[string]map[string]bool{}
	for _, r := range records {
		group := ""
		for _, h := range r.Headers {
			if h.Key == "__dlq.errors.group" {
				group = string(h.Value)
			}
		}
		if !poison[string(r.Value)] {
			f.add("a letter that nobody planted, of %s: %.300s", group, r.Value)
			continue
		}
		if found[string(r.Value)] == nil {
			found[string(r.Value)] = map[string]bool{}
		}
		found[string(r.Value)][group] = true
	}
	for value := range poison {
		for _, g := range groups {
			if !found[value][g] {
				return fmt.Errorf("%s left no letter of %q", g, value)
			}
		}
	}
	return nil
}
