package main

import (
	"context"
	"errors"
)

// wipeAlone takes the server's data away while no consumer runs: MongoDB is as far behind Kafka as the crowd has got since
// they died. The shards have to be served again before any consumer is back.
func (st *strikes) wipeAlone() fault {
	behind := st.between(second, 4*second)
	lost := st.wipe()
	if st.random.IntN(2) == 0 {
		lost = st.flush()
	}
	return fault{"lose all of Redis's data with no consumer", lost.what + " while no consumer runs", 0,
		func(ctx context.Context) error {
			if err := st.killConsumers(); err != nil {
				return err
			}
			if err := pause(ctx, behind); err != nil {
				return err
			}
			return lost.do(ctx)
		}, st.startConsumers}
}

func (st *strikes) killConsumers() (err error) {
	for _, p := range st.stack.consumers {
		err = errors.Join(err, p.Kill())
	}
	return err
}

func (st *strikes) startConsumers(ctx context.Context) (err error) {
	for _, p := range st.stack.consumers {
		err = errors.Join(err, p.Start(ctx))
	}
	return err
}
