package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/schemas"
)

// killSpooled kills every consumer while letters stand on their disks alone: neither the topic nor MongoDB takes any, and
// the group push has gone on after their records, so that no letter is ever made of them again.
func (st *strikes) killSpooled() fault {
	s, refused := st.stack, st.refuse(schemas.CartDLQ)
	do := func(ctx context.Context) error {
		if err := refused.do(ctx); err != nil {
			return err
		}
		s.toMongoDB.cut()
		var planted []*kgo.Record
		for range 3 {
			r, err := st.planted(ctx)
			if err != nil {
				return err
			}
			planted = append(planted, r)
		}
		err := until(ctx, noPlace, func(ctx context.Context) error { return s.done(ctx, "push", planted) })
		if err != nil && ctx.Err() == nil {
			st.unhealed.add("letters that only the disk takes hold up their partition for more than %v: %v", noPlace, err)
		}
		return errors.Join(ctx.Err(), st.killConsumers())
	}
	return fault{"kill -9 consumers with letters on disk", "no topic and no MongoDB for letters, there is poison, and kill -9 all consumers", 0, do,
		func(ctx context.Context) error {
			return errors.Join(s.toMongoDB.mend(ctx), refused.undo(ctx), st.startConsumers(ctx))
		}}
}

// done returns nil once the group will not read these records again.
func (s *stack) done(ctx context.Context, group string, records []*kgo.Record) error {
	committed, err := s.admin().FetchOffsets(ctx, group)
	if err != nil {
		return fmt.Errorf("how far %s has read: %w", group, err)
	}
	for _, r := range records {
		if at, _ := committed.Lookup(r.Topic, r.Partition); at.At <= r.Offset {
			return fmt.Errorf("%s has read partition %d up to %d, not beyond the poison at %d", group, r.Partition, at.At, r.Offset)
		}
	}
	return nil
}
