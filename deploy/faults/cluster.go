package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// slotsMoved are enough to hold some shards: a shard has one slot, and they are spread evenly over 16,384.
const slotsMoved = 700

// moveSlots moves slots with their carts from one master of the cluster to another, while they are used.
func (st *strikes) moveSlots() fault {
	from := st.random.IntN(len(st.stack.cluster))
	to := (from + 1 + st.random.IntN(len(st.stack.cluster)-1)) % len(st.stack.cluster)
	a, b := st.stack.cluster[from], st.stack.cluster[to]
	return fault{"move slots of a cluster", fmt.Sprintf("move %d slots from %s to %s", slotsMoved, a.Name, b.Name), 0, func(ctx context.Context) error {
		ids := [2]string{}
		for i, addr := range []string{a.Addr, b.Addr} {
			c := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
			id, err := c.ClusterMyID(ctx).Result()
			_ = c.Close()
			if err != nil {
				return err
			}
			ids[i] = id
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		out, err := exec.CommandContext(ctx, "redis-cli", "--cluster", "reshard", a.Addr, "--cluster-from", ids[0], "--cluster-to", ids[1], //nolint:gosec // our own cluster
			"--cluster-slots", strconv.Itoa(slotsMoved), "--cluster-yes").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, tail(out, 500))
		}
		if moved := strings.Count(string(out), "Moving slot "); moved == 0 {
			return fmt.Errorf("no slot was moved: %s", tail(out, 500))
		}
		return nil
	}, nil}
}

// killMaster ends one master of the cluster and starts it again with all that it had written.
func (st *strikes) killMaster() fault {
	n := st.stack.cluster[st.random.IntN(len(st.stack.cluster))]
	return kill("a cluster's master", n.Name, n, st.between(0, second))
}
