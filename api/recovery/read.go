package recovery

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/schemas"
)

// read hands on the changes of tails, of tailsAtOnce at a time: the sooner one is read to its end, the sooner are its shards
// served. Where these fall silent, all others are read. It reports whether Kafka fell silent before all were read to their end.
func (b *bringing) read(ctx context.Context, client *kgo.Client, tails []*tail, portions chan<- portion) (silent bool, err error) {
	waiting := make([]int32, 0, len(tails))
	open := make(map[int32]*tail, len(tails))
	for _, t := range tails {
		waiting, open[t.partition] = append(waiting, t.partition), t
	}
	client.PauseFetchPartitions(map[string][]int32{b.Topic: waiting})
	delivered := time.Now() // something was, or nothing was asked for
	for reading := 0; len(open) > 0; {
		if next := min(tailsAtOnce-reading, len(waiting)); next > 0 {
			client.ResumeFetchPartitions(map[string][]int32{b.Topic: waiting[:next]})
			waiting, reading = waiting[next:], reading+next
		}
		// However late it is, as after a stop of this process, what is there already is heard.
		poll, cancel := context.WithTimeout(ctx, max(quiet-time.Since(delivered), heard))
		fetches := client.PollRecords(poll, 5000)
		cancel()
		if fetches.NumRecords() == 0 {
			switch {
			case ctx.Err() != nil:
				return false, ctx.Err()
			case time.Since(delivered) < quiet:
				if fetches.Err() != nil { // which may pass
					time.Sleep(fetchWait)
				}
			case len(waiting) == 0:
				return true, nil
			default:
				client.ResumeFetchPartitions(map[string][]int32{b.Topic: waiting})
				waiting, reading, delivered = nil, reading+len(waiting), time.Now()
			}
			continue
		}
		p := b.portion(ctx, fetches, open)
		reading -= len(p.ended)
		for _, t := range p.ended { // what its shards are changed by from now on would pass for progress
			client.PauseFetchPartitions(map[string][]int32{b.Topic: {t.partition}})
		}
		select {
		case portions <- p:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		delivered = time.Now() // that wait was for Redis and MongoDB
	}
	return false, nil
}

// portion is the changes that were fetched and are wanted. Tails that are read to their end leave open.
func (b *bringing) portion(ctx context.Context, fetches kgo.Fetches, open map[int32]*tail) portion {
	p := portion{changes: make([]change, 0, fetches.NumRecords())}
	fetches.EachRecord(func(rec *kgo.Record) {
		t := open[rec.Partition]
		if t == nil {
			return
		}
		if t.next = rec.Offset + 1; t.read() {
			p.ended = append(p.ended, t)
			delete(open, rec.Partition)
		}
		user := string(rec.Key)
		offset, wanted := t.after[b.Store.ShardOf(user)]
		if rec.Offset >= t.end || !wanted || rec.Offset <= offset || rec.Attrs.IsControl() {
			return
		}
		c, err := schemas.DecodeCartChanged(rec.Value)
		if err != nil || c.UserID != user {
			b.Log.WarnContext(ctx, "a record of the tail is no change of a cart", "partition", rec.Partition, "offset", rec.Offset, "error", err)
			return
		}
		p.changes = append(p.changes, change{c, header(rec, schemas.HeaderIdempotency), header(rec, schemas.HeaderRequest)})
	})
	return p
}
