package runner_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/consumers/runner"
)

// holder copies records, but holds those of key "h" until told otherwise, where no later one of the key comes with them.
func holder(released *atomic.Bool) runner.Transactional[string] {
	c := copier(nil)
	accept := c.Handle
	c.Handle = func(ctx context.Context, batch []runner.Record[string]) ([]*kgo.Record, error) {
		var rest []runner.Record[string]
		last := map[string]int{}
		for i, r := range batch {
			last[string(r.Key)] = i
		}
		for i, r := range batch {
			switch {
			case string(r.Key) != "h" || released.Load():
				rest = append(rest, r)
			case last["h"] == i:
				r.Hold()
			}
		}
		return accept(ctx, rest)
	}
	return c
}

func TestAHeldRecordHoldsItsOffsetAndNobodyElse(t *testing.T) {
	t.Parallel()
	for claim, restart := range map[string]bool{"in a member that goes on": false, "across a restart": true} {
		t.Run(claim, func(t *testing.T) {
			t.Parallel()
			heldBack(t, newKafka(t, 1), restart)
		})
	}
}

func heldBack(t *testing.T, k *kafka, restart bool) {
	var released atomic.Bool
	r := run(t, k, holder(&released))
	k.write(t, 0, "a", "a0")
	k.write(t, 0, "h", "h1")
	k.write(t, 0, "h", "h2")
	k.write(t, 0, "b", "b3")
	until(t, "the others are done", func() bool { return k.has(t, "a0") && k.has(t, "b3") })
	k.write(t, 0, "b", "b4")
	until(t, "the next one, too", func() bool { return k.has(t, "b4") })
	if at := k.committed("g", 0); at > 2 {
		t.Fatalf("%d is committed, with the record at 2 held", at)
	}
	if restart {
		r.stop()
		run(t, k, holder(&released))
	}
	released.Store(true)
	until(t, "it is done", func() bool { return k.has(t, "h2") && k.committed("g", 0) == 5 })
}

func TestAReplayLeavesAHeldRecordsOffset(t *testing.T) {
	t.Parallel()
	k := newKafka(t, 1)
	var released atomic.Bool
	r := run(t, k, holder(&released))
	k.write(t, 0, "p", "poison")
	letter := k.letters(t, 1)[0]
	letter.Value = []byte("mended")
	k.write(t, 0, "h", "h1")
	k.write(t, 0, "a", "a2")
	until(t, "the others are done", func() bool { return k.has(t, "a2") })
	for err := errors.New("first"); err != nil; { // a rebalance may come in between
		err = r.Replay(t.Context(), letter)
	}
	if at := k.committed("g", 0); at != 1 || !k.has(t, "mended") {
		t.Errorf("%d is committed, with the record at 1 held; out holds %q", at, values(k.read(t, out)))
	}
}

// has says whether out holds the value.
func (k *kafka) has(t *testing.T, value string) bool {
	for _, v := range values(k.read(t, out)) {
		if v == value {
			return true
		}
	}
	return false
}
