package alerts_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/schemas"
)

// sleepers connects so many sockets that take nothing, of a user whose cart, a quarter of a megabyte, no socket's buffers hold.
func (s *stack) sleepers(n int) {
	s.t.Helper()
	const user, most = "sleeper", 500 // characters in a title
	for i := range 120 {
		book := fmt.Sprint("long-", i)
		body := map[string]any{"bookId": book, "title": strings.Repeat("\U0001F4DA", most), "author": "A", "unitPrice": 1, "stock": 1}
		s.api.call(s.t, "POST", "/v1/books", "boss", "admin", body)
		s.add(user, book)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: narrow.DialContext}}
	header := http.Header{"Authorization": {"Bearer " + token(s.t, user, "customer")}}
	for range n {
		conn, _, err := websocket.Dial(s.t.Context(), "ws://"+s.api.addr+"/v1/cart/live", &websocket.DialOptions{HTTPClient: client, HTTPHeader: header})
		must(s.t, err)
		s.t.Cleanup(func() { _ = conn.CloseNow() })
	}
}

// narrow makes connections for which the kernels of both sides keep little: by a small window, and small segments.
var narrow = net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
	failed := c.Control(func(fd uintptr) {
		if err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2048); err == nil {
			err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 88)
		}
	})
	if failed != nil {
		return failed
	}
	return err
}}

// hang makes Redis say that an instance runs the job since an hour ago, and has its lease.
func (s *stack) hang(job string) {
	s.t.Helper()
	key := "cartstream:timer:{" + job + "}"
	_, err := s.carts.TxPipelined(s.t.Context(), func(p redis.Pipeliner) error {
		p.Set(s.t.Context(), key+":lease", "gone", time.Hour)
		p.HSet(s.t.Context(), key, "slot", time.Now().Add(-time.Hour).UnixMilli())
		return nil
	})
	must(s.t, err)
}

// again writes a change of u1's to Kafka once more, as if it had been there for so long.
func (s *stack) again(since time.Duration) {
	s.t.Helper()
	reader, err := kgo.NewClient(kgo.SeedBrokers(s.kafka.Addr), kgo.ConsumeTopics(schemas.CartEvents), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	must(s.t, err)
	defer reader.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for {
		fetched := reader.PollFetches(ctx)
		must(s.t, fetched.Err0())
		for _, r := range fetched.Records() {
			if string(r.Key) == "u1" && string(r.Value) != "poison" {
				must(s.t, s.client.ProduceSync(ctx, &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: time.Now().Add(-since)}).FirstErr())
				return
			}
		}
	}
}

// store puts so many more carts into MongoDB.
func (s *stack) store(n int) {
	s.t.Helper()
	carts := make([]any, n)
	for i := range carts {
		line := schemas.Line{BookID: "b1", Title: "Emma", UnitPrice: 1299, Quantity: 1, LineTotal: 1299, Availability: schemas.Available}
		carts[i] = schemas.Cart{UserID: fmt.Sprint("stored-", i), Epoch: 1, Version: 1, Currency: "EUR", Items: []schemas.Line{line}, Totals: schemas.Sum([]schemas.Line{line})}
	}
	_, err := s.mongo.Database("cartstream").Collection("carts").InsertMany(s.t.Context(), carts)
	must(s.t, err)
}

// lose takes everything out of Redis.
func (s *stack) lose() {
	s.t.Helper()
	must(s.t, s.carts.FlushAll(s.t.Context()).Err())
}

// sees looks on while shards recover, and reports whether the condition holds before all are ready.
func (s *stack) sees(c condition) (seen bool) {
	s.t.Helper()
	lost := condition{aggregate: "max", metric: "cartstream_shards", labels: map[string]string{"state": "recovering"}, operator: ">"}
	until(s.t, "the loss is noticed", func() bool { now := s.scrape(); seen = seen || c.fires(nil, now); return seen || lost.fires(nil, now) })
	until(s.t, "every shard is ready", func() bool {
		now := s.scrape()
		seen = seen || c.fires(nil, now)
		return !lost.fires(nil, now) && !c.fires(nil, now)
	})
	return seen
}

// hoard puts n copies of the one change that waits for Kafka in its place, as if they had waited for so long.
func (s *stack) hoard(n int, since time.Duration) {
	s.t.Helper()
	var outbox string
	var waits redis.XMessage
	all := s.carts.ScanType(s.t.Context(), 0, "*", 1000, "stream").Iterator()
	for all.Next(s.t.Context()) {
		entries, err := s.carts.XRange(s.t.Context(), all.Val(), "-", "+").Result()
		must(s.t, err)
		if len(entries) > 0 {
			outbox, waits = all.Val(), entries[0]
		}
	}
	must(s.t, all.Err())
	generation, _, _ := strings.Cut(waits.ID, "-")
	values := map[string]any{}
	for name, value := range waits.Values {
		values[name] = moment.ReplaceAllStringFunc(fmt.Sprint(value), func(ms string) string {
			if at, _ := strconv.ParseInt(ms, 10, 64); ms != generation && time.Since(time.UnixMilli(at)).Abs() < time.Minute {
				return strconv.FormatInt(at-since.Milliseconds(), 10)
			}
			return ms
		})
	}
	const batch = 5000
	for done := 0; done < n; done += batch {
		_, err := s.carts.Pipelined(s.t.Context(), func(p redis.Pipeliner) error {
			for range min(batch, n-done) {
				p.XAdd(s.t.Context(), &redis.XAddArgs{Stream: outbox, ID: generation + "-*", Values: values})
			}
			return nil
		})
		must(s.t, err)
	}
	must(s.t, s.carts.XDel(s.t.Context(), outbox, waits.ID).Err())
}

// moment is a time as the outbox holds it, in milliseconds.
var moment = regexp.MustCompile(`\b\d{13}\b`)
