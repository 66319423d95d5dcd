package runner

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	// holdCheck is how often held records are handled again.
	holdCheck = time.Second
	// holdMost is how many records of a partition are held; beyond, the oldest are done.
	holdMost = 4096
)

// Hold says, within a Transactional's Handle that returns nil, that the record isn't done yet though the batch is: it is
// handled again each second, and with the next records of its key, until a Handle doesn't hold it. Others go on meanwhile.
// The offset that the group commits stays at the first held record, so a restart or another owner begins there: it
// sees later records again. One record a key is held, and 4,096 a partition; what is more ends the oldest.
func (r Record[T]) Hold() {
	if r.held != nil {
		*r.held = true
	}
}

// held are held records by partition and key.
type held map[place]map[string]*kgo.Record

// holds are the held records of a session. Only its loop uses them.
type holds struct {
	at      held
	checked time.Time
}

// join returns what was polled, each partition preceded by its held records of the same keys.
func (h *holds) join(got polled) polled {
	if len(h.at) == 0 {
		return got
	}
	all := make(polled, len(got))
	for at, records := range got {
		var before []*kgo.Record
		seen := map[string]bool{}
		for _, r := range records {
			if older := h.at[at][string(r.Key)]; older != nil && !seen[string(r.Key)] {
				before = append(before, older)
				seen[string(r.Key)] = true
			}
		}
		all[at] = append(before, records...)
	}
	return all
}

// due returns what is to be handled again now: at most limit records, of partitions that are still this member's. It
// forgets those of others.
func (h *holds) due(cl *kgo.Client, limit int) polled {
	if len(h.at) == 0 || time.Since(h.checked) < holdCheck {
		return nil
	}
	h.checked = time.Now()
	again := polled{}
	for at, byKey := range h.at {
		if _, mine := offsetOf(cl, at); !mine {
			delete(h.at, at)
			continue
		}
		for _, r := range byKey {
			if limit == 0 {
				break
			}
			limit--
			again[at] = append(again[at], r)
		}
	}
	return again
}

// within returns a ctx that ends when held records are due.
func (h *holds) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if len(h.at) == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, h.checked.Add(holdCheck))
}

// after returns what is held once records came to res.
func (h *holds) after(records polled, res result) held {
	next := held{}
	maps.Copy(next, h.at)
	for at, rs := range records {
		next[at] = maps.Clone(h.at[at])
		for _, r := range rs {
			delete(next[at], string(r.Key))
		}
	}
	for _, r := range res.held {
		at := place{r.Topic, r.Partition}
		if next[at] == nil {
			next[at] = map[string]*kgo.Record{}
		}
		next[at][string(r.Key)] = alone(r)
	}
	for at, byKey := range next {
		if len(byKey) == 0 {
			delete(next, at)
		}
		if over := len(byKey) - holdMost; over > 0 {
			oldest := slices.SortedFunc(maps.Values(byKey), func(a, b *kgo.Record) int { return cmp.Compare(a.Offset, b.Offset) })
			for _, r := range oldest[:over] {
				delete(byKey, string(r.Key))
			}
		}
	}
	return next
}

// committed takes over what after returned.
func (h *holds) committed(next held) {
	if len(h.at) == 0 {
		h.checked = time.Now()
	}
	h.at = next
}

// alone is a record that doesn't keep the batch in memory that it was fetched with.
func alone(r *kgo.Record) *kgo.Record {
	c := *r
	c.Key, c.Value, c.Context = slices.Clone(r.Key), slices.Clone(r.Value), nil
	c.Headers = slices.Clone(r.Headers)
	for i := range c.Headers {
		c.Headers[i].Value = slices.Clone(r.Headers[i].Value)
	}
	return &c
}

// back makes what a transaction commits end before the first held record of each partition.
func (h held) back(req *kmsg.TxnOffsetCommitRequest) error {
	for i := range req.Topics {
		topic := &req.Topics[i]
		for j := range topic.Partitions {
			p := &topic.Partitions[j]
			for _, r := range h[place{topic.Topic, p.Partition}] {
				if r.Offset < p.Offset {
					p.Offset, p.LeaderEpoch = r.Offset, r.LeaderEpoch
				}
			}
		}
	}
	return nil
}
