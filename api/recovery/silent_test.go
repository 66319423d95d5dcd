package recovery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cartstream/api/cart"
	"cartstream/api/recovery"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// silenced is a deployment whose Kafka may tell nothing of some partitions, as one whose leader is gone, though it knows where
// they end.
type silenced struct {
	*tailed
	kafka *kfake.Cluster
}

func setupSilenced(t *testing.T) *silenced {
	t.Helper()
	k, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	d := setupTailWith(t, setupWith(t, enginetest.Redis(t), strings.Join(k.ListenAddrs(), ",")))
	return &silenced{d, k}
}

// silence keeps the partitions silent from that offset on.
func (d *silenced) silence(from int64, partitions ...int32) {
	for _, p := range partitions {
		d.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Partitions: []int32{p}, Err: kerr.NotLeaderForPartition, Count: -1,
			When: func(r kmsg.Request) bool {
				for _, topic := range r.(*kmsg.FetchRequest).Topics {
					for _, asked := range topic.Partitions {
						if asked.Partition == p && asked.FetchOffset >= from {
							return true
						}
					}
				}
				return false
			}})
	}
}

// accept is the operator's command, on shards that need their tails. Kafka delivers a record at a time.
func (d *silenced) accept(t *testing.T) ([]recovery.Given, error) {
	t.Helper()
	return d.acceptOn(t, d.open(t, 8))
}

func (d *silenced) acceptOn(t *testing.T, s *cart.Store) ([]recovery.Given, error) {
	t.Helper()
	d.stop()
	d.forgets(t)
	c := d.config(t, s, "operator")
	c.AcceptLoss = true
	c.Options = append(c.Options, kgo.DisableFetchSessions(), kgo.FetchMaxPartitionBytes(1))
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
	defer cancel()
	return recovery.New(c).Accept(ctx)
}

// in returns a user of that partition who had no cart yet.
func in(partition int) string {
	for n := 100; ; n++ {
		if user := fmt.Sprintf("u%d", n); schemas.Partition(user, partitions) == partition {
			return user
		}
	}
}

func TestWhatWasReadOfATailThatFellSilentIsKept(t *testing.T) {
	t.Parallel()
	d := setupSilenced(t)
	d.produce(t, d.change("u1", 3, schemas.ItemSet, 7), "", "")
	d.produce(t, d.change("u1", 4, schemas.ItemSet, 8), "", "")
	d.silence(3, int32(schemas.Partition("u1", partitions)))
	given, err := d.accept(t)
	if err != nil || len(given) == 0 {
		t.Errorf("%+v, %v; want the shard of a silent tail given up", given, err)
	}
	d.run(t, d.open(t, 8), "another")
	eventually(t, "the cart with what was read", d.served(t, "u1", 3))
}

func TestAnEpochInATailThatFellSilentIsNeverReached(t *testing.T) {
	t.Parallel()
	d := setupSilenced(t)
	ahead := d.change("u1", 3, schemas.ItemSet, 7)
	ahead.Epoch, ahead.Whole = time.Now().Add(24*time.Hour).UnixMilli(), true // a clock that went back since
	d.produce(t, ahead, "", "")
	d.produce(t, d.change("u1", 4, schemas.ItemSet, 8), "", "")
	d.silence(3, int32(schemas.Partition("u1", partitions)))
	if given, err := d.accept(t); err != nil || len(given) == 0 {
		t.Errorf("%+v, %v; want the shard of a silent tail given up", given, err)
	}
	d.run(t, d.open(t, 8), "another")
	eventually(t, "the cart with what was read", d.served(t, "u1", 3))
	if v, err := d.store.Get(t.Context(), "u1"); err != nil || v.Epoch != ahead.Epoch || v.Generation <= ahead.Epoch {
		t.Errorf("%+v, %v; want epoch %d under a higher generation", v, err, ahead.Epoch)
	}
}

func TestTailsBehindSilentOnesAreRead(t *testing.T) {
	t.Parallel()
	d := setupSilenced(t)
	for p := range partitions {
		d.produce(t, d.change(in(p), 1, schemas.ItemAdded, 1), "", "")
	}
	d.silence(0, 0, 1) // as many as are read at once
	given, err := d.accept(t)
	if err != nil || len(given) == 0 {
		t.Errorf("%+v, %v; want the shards of silent tails given up", given, err)
	}
	for _, g := range given {
		if g.Shard%partitions > 1 {
			t.Errorf("shard %d was given up, though its tail could be read", g.Shard)
		}
	}
	d.run(t, d.open(t, 8), "another")
	for p := 2; p < partitions; p++ {
		eventually(t, "a cart whose tail was read", d.served(t, in(p), 1))
	}
}

func TestAFetchThatFailsIsNoSilence(t *testing.T) {
	t.Parallel()
	d := setupSilenced(t)
	d.produce(t, d.change("u1", 3, schemas.ItemSet, 7), "", "")
	d.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.UnknownServerError, Count: 3})
	if given, err := d.accept(t); err != nil || len(given) > 0 {
		t.Errorf("%+v, %v; want nothing given up", given, err)
	}
	d.run(t, d.open(t, 8), "another")
	eventually(t, "the cart with its tail", d.served(t, "u1", 3))
}

// slowly is a connection on which one command takes as long as it says to be sent.
type slowly struct {
	net.Conn
	command []byte
	wait    *atomic.Int64
}

func (s slowly) Write(b []byte) (int, error) {
	if bytes.Contains(b, s.command) {
		time.Sleep(time.Duration(s.wait.Swap(0)))
	}
	return s.Conn.Write(b)
}

// SetWriteDeadline doesn't count what Write waits.
func (s slowly) SetWriteDeadline(time.Time) error { return nil }

func TestWaitingForRedisIsNoSilenceOfKafka(t *testing.T) {
	t.Parallel()
	d := setupSilenced(t)
	const last = 10 // many more than are on their way at once
	for v := int64(3); v <= last; v++ {
		d.produce(t, d.change("u1", v, schemas.ItemSet, v), "", "")
	}
	var wait atomic.Int64
	wait.Store(int64(6 * time.Second))
	s := d.openThrough(t, 8, func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return slowly{conn, []byte("all[i] = redis.call('HGETALL'"), &wait}, err
	})
	given, err := d.acceptOn(t, s)
	if err != nil || len(given) > 0 || wait.Load() != 0 {
		t.Errorf("%+v, %v; want nothing given up after a wait", given, err)
	}
	d.run(t, d.open(t, 8), "another")
	eventually(t, "the cart with its tail", d.served(t, "u1", last))
}

func TestNewChangesAreNoProgressInATail(t *testing.T) {
	t.Parallel()
	d := setupSilenced(t)
	d.produce(t, d.change(in(0), 1, schemas.ItemAdded, 1), "", "")
	d.produce(t, d.change(in(1), 1, schemas.ItemAdded, 1), "", "")
	d.silence(0, 1)
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { // others change their carts all the while
		for version := int64(2); ; version++ {
			r := &kgo.Record{Topic: d.topic, Key: []byte(in(0)), Value: schemas.EncodeCartChanged(d.change(in(0), version, schemas.ItemSet, version))}
			if err := d.engines.kafka.ProduceSync(ctx, r).FirstErr(); err != nil {
				over <- err
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	given, err := d.accept(t)
	if err != nil || len(given) == 0 {
		t.Errorf("%+v, %v; want the shard of a silent tail given up", given, err)
	}
	cancel()
	if err := <-over; !errors.Is(err, context.Canceled) {
		t.Errorf("the others: %v", err)
	}
}
