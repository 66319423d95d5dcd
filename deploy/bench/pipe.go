package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"cartstream/schemas"
)

// What the benchmarks of the way behind the API share: Kafka and MongoDB as anybody sees them, and what the product tells
// of itself.

// within bounds everything that a benchmark waits for.
const within = 10 * time.Minute

// few is how many rounds a benchmark has whose round takes long: three, unless -rounds says otherwise.
func (b *bench) few() int {
	if b.roundsGiven {
		return b.rounds
	}
	return min(b.rounds, 3)
}

// until asks each few milliseconds, until it is so.
func until(ctx context.Context, what string, every time.Duration, so func() (bool, error)) error {
	for end := time.Now().Add(within); ; {
		done, err := so()
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", what, err)
		case done:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("%s: not after %v", what, within)
		}
		if err := sleep(ctx, every); err != nil {
			return err
		}
	}
}

// metric is the sum of a page's samples that begin so.
func metric(ctx context.Context, addr, begin string) (sum float64, err error) {
	page, err := get(ctx, "http://"+addr+"/metrics")
	if err != nil {
		return 0, err
	}
	found := false
	for line := range bytes.Lines(page) {
		if bytes.HasPrefix(line, []byte(begin)) {
			fields := bytes.Fields(line)
			v, err := strconv.ParseFloat(string(fields[len(fields)-1]), 64)
			if err != nil {
				return 0, fmt.Errorf("metric %s: %w", begin, err)
			}
			sum, found = sum+v, true
		}
	}
	if !found {
		return 0, fmt.Errorf("there is no metric %s", begin)
	}
	return sum, nil
}

// ask makes an operator's call.
func (s *stack) ask(ctx context.Context, method, path, body string, into any) error {
	token, err := sign("boss", "admin")
	if err != nil {
		return err
	}
	page, err := request(ctx, method, "http://"+s.consumers.addr+path, token, body)
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(page, into)
}

// relayed waits until Kafka has everything.
func (s *stack) relayed(ctx context.Context) error {
	return until(ctx, "relay all changes", 50*time.Millisecond, func() (bool, error) {
		var outbox struct{ Pending int }
		err := s.ask(ctx, http.MethodGet, "/admin/outbox", "", &outbox)
		return outbox.Pending == 0, err
	})
}

// log is a topic of Kafka.
type log struct {
	client *kgo.Client
	admin  *kadm.Client
	topic  string
}

// openLog returns a topic, which it makes like cart.events.v1 where it isn't there.
func (s *stack) openLog(ctx context.Context, topic string) (*log, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(s.kafka.Brokers(), ",")...), kgo.DefaultProduceTopic(topic),
		kgo.MaxBufferedRecords(100_000), kgo.ProducerLinger(0))
	if err != nil {
		return nil, err
	}
	l := &log{client, kadm.NewClient(client), topic}
	like := schemas.Topics(16, 1)[0]
	configs := map[string]*string{}
	for k, v := range like.Configs {
		configs[k] = &v
	}
	made, err := l.admin.CreateTopic(ctx, 16, 1, configs, topic)
	if err != nil && made.Err == nil {
		client.Close()
		return nil, fmt.Errorf("make topic %s: %w", topic, err)
	}
	return l, nil
}

func (l *log) close() { l.client.Close() }

// end is how many records the topic has had.
func (l *log) end(ctx context.Context) (n int64, err error) {
	ends, err := l.admin.ListEndOffsets(ctx, l.topic)
	if err == nil {
		err = ends.Error()
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n, err
}

// send produces n records and waits until Kafka has them all.
func (l *log) send(ctx context.Context, n int, record func(i int) *kgo.Record) error {
	failed := make(chan error, 1)
	for i := range n {
		l.client.Produce(ctx, record(i), func(_ *kgo.Record, err error) {
			if err != nil {
				select {
				case failed <- err:
				default:
				}
			}
		})
	}
	if err := l.client.Flush(ctx); err != nil {
		return err
	}
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// read gives visit each of the n records from the offsets on, by partition.
func (s *stack) read(ctx context.Context, topic string, from map[int32]kgo.Offset, n int, visit func(*kgo.Record)) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(s.kafka.Brokers(), ",")...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return err
	}
	defer client.Close()
	for n > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("read %s: %w", topic, err)
		}
		n -= fetches.NumRecords()
		fetches.EachRecord(visit)
	}
	return nil
}

// ends are where each partition ends.
func (l *log) ends(ctx context.Context) (map[int32]kgo.Offset, error) {
	listed, err := l.admin.ListEndOffsets(ctx, l.topic)
	ends := map[int32]kgo.Offset{}
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = kgo.NewOffset().At(o.Offset) })
	return ends, err
}

// database is the product's.
func (s *stack) database() (*mongo.Database, error) {
	uri, err := connstring.Parse(s.mongodb.URI)
	if err != nil {
		return nil, err
	}
	client, err := mongo.Connect(mongooptions.Client().ApplyURI(s.mongodb.URI))
	if err != nil {
		return nil, err
	}
	return client.Database(uri.Database), nil
}

// readAll reads every document, whole, by one cursor.
func readAll(ctx context.Context, carts *mongo.Collection) (n int, err error) {
	cursor, err := carts.Find(ctx, bson.D{}, mongooptions.Find().SetBatchSize(1000))
	if err != nil {
		return 0, err
	}
	defer cursor.Close(ctx) //nolint:errcheck // read to its end or given up
	for cursor.Next(ctx) {
		n++
	}
	return n, cursor.Err()
}

// thaw lets a frozen process go on.
func thaw(pid int) error { return syscall.Kill(pid, syscall.SIGCONT) }

// stored waits until MongoDB has that many carts.
func stored(ctx context.Context, carts *mongo.Collection, n int) error {
	return until(ctx, "store all carts", 200*time.Millisecond, func() (bool, error) {
		has, err := carts.CountDocuments(ctx, bson.D{})
		return has >= int64(n), err
	})
}

// restart ends Redis as a crash would and starts it again with the data of from, or none where that is "".
func (s *stack) restart(ctx context.Context, from string) error {
	if err := s.redis.Kill(); err != nil {
		return err
	}
	data := filepath.Join(s.dir, "redis")
	if err := os.RemoveAll(data); err != nil {
		return err
	}
	err := os.Mkdir(data, 0o700)
	if from != "" {
		err = errors.Join(err, os.CopyFS(data, os.DirFS(from)))
	}
	if err != nil {
		return err
	}
	return s.redis.Start(ctx)
}
