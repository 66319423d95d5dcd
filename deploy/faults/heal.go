package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"cartstream/schemas"
)

// heal waits, where this strike is one to wait for, until the product has healed from it all by itself while the crowd goes
// on, and notes how long that took since the strike ended: every process is ready; Kafka, MongoDB, cart.state.v1 and the
// sockets have everything that Redis held when the carts could first be read.
func (st *strikes) heal(ctx context.Context, f fault) error {
	if !st.waits() {
		return nil
	}
	began := time.Now()
	var carts map[string]schemas.Cart
	var ends map[int32]int64
	err := until(ctx, settleFor, func(ctx context.Context) (err error) {
		if carts == nil {
			found, err := st.carts(ctx)
			if err != nil {
				return err
			}
			carts = found
		}
		if err := st.arrived(ctx, carts); err != nil {
			return err
		}
		// What MongoDB has, Kafka had before.
		if ends == nil {
			if ends, err = st.stack.ends(ctx); err != nil {
				return err
			}
		}
		return st.stack.haveRead(ctx, ends)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	took := time.Since(began)
	st.healed[f.kind] = append(st.healed[f.kind], took)
	if err != nil {
		st.unhealed.add("not healed %v after %s: %v", settleFor, f.what, err)
	}
	st.say("%5.1f s: healed after %.1f s", st.since().Seconds(), took.Seconds())
	return nil
}

// waits says whether the next strike comes only once this one is healed. In a soak every other one does, so that strikes
// also come in the middle of healing.
func (st *strikes) waits() bool { return st.patient || st.until > 0 && st.count%2 == 0 }

// arrived returns nil when every process is ready, and MongoDB and all sockets have got as far as these carts.
func (l *load) arrived(ctx context.Context, carts map[string]schemas.Cart) error {
	for _, p := range l.stack.processes() {
		a, err := send(ctx, p.addr, "", call{method: http.MethodGet, path: "/readyz"})
		if err != nil || a.status != http.StatusOK || !strings.Contains(string(a.body), `"status":"ready"`) {
			return fmt.Errorf("%s is not ready: %d %s %w", p.name, a.status, a.body, err)
		}
	}
	found, err := l.stack.mongo.Database("cartstream").Collection("carts").Find(ctx, bson.D{},
		options.Find().SetProjection(bson.D{{Key: "version", Value: 1}}))
	if err != nil {
		return err
	}
	var all []schemas.Cart
	if err := found.All(ctx, &all); err != nil {
		return err
	}
	stored := make(map[string]int64, len(all))
	for _, c := range all {
		stored[c.UserID] = c.Version
	}
	for user, c := range carts {
		if stored[user] < c.Version {
			return fmt.Errorf("MongoDB has version %d of %s, who had %d", stored[user], user, c.Version)
		}
	}
	for _, d := range l.devices {
		if at := d.Version(); at < carts[d.User].Version {
			return fmt.Errorf("a device of %s on %s is at version %d, not yet %d", d.User, d.Addr, at, carts[d.User].Version)
		}
	}
	return nil
}

// haveRead returns nil when every group of the product has done with cart.events.v1 as far as ends.
func (s *stack) haveRead(ctx context.Context, ends map[int32]int64) error {
	for _, name := range groups {
		committed, err := s.admin().FetchOffsets(ctx, name)
		if err != nil {
			return fmt.Errorf("how far %s has read: %w", name, err)
		}
		for partition, end := range ends {
			// What has no offset yet is at 0.
			if at, _ := committed.Lookup(schemas.CartEvents, partition); at.At < end {
				return fmt.Errorf("%s has read partition %d up to %d, not %d", name, partition, at.At, end)
			}
		}
	}
	return nil
}
