package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"cartstream/deploy/engines/engine"
	"cartstream/deploy/launch/scratch"
)

// The size of the product under test.
const (
	kafkaNodes = 3
	apis       = 2
	consumers  = 2
	partitions = 16
)

// stack is the product on engines of its own, each behind a proxy. The harness itself looks at Redis and MongoDB past
// them.
type stack struct {
	dir     string
	scratch *scratch.Dir
	proxies *proxies

	master, replica *engine.Process
	cluster         []*engine.Process // in the place of master and replica
	kafka           *engine.Kafka
	mongodb         *engine.MongoDB

	toRedis, toReplication, toMongoDB *proxy
	toKafka                           []*proxy

	apis, consumers []*process
	spools          []string // of each of the consumers

	redis redis.UniversalClient // of the server that is master
	mongo *mongo.Client
	log   *kgo.Client // through the proxies, for reading at the end
}

// start brings everything up and waits until it is ready. env is every process's, besides the addresses.
func start(ctx context.Context, home *scratch.Dir, cluster bool, env []string) (_ *stack, err error) {
	s := &stack{scratch: home, proxies: newProxies()}
	if s.dir, err = home.Sub("stack"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	g, starting := errgroup.WithContext(ctx)
	g.Go(func() error {
		if cluster {
			return s.startCluster(starting)
		}
		return s.startRedis(starting)
	})
	g.Go(func() error { return s.startKafka(starting) })
	g.Go(func() error { return s.startMongoDB(starting) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := s.startProduct(ctx, env); err != nil {
		return nil, err
	}
	s.log, err = kgo.NewClient(kgo.SeedBrokers(s.brokers()...))
	return s, err
}

func (s *stack) startRedis(ctx context.Context) error {
	ports, err := engine.FreePorts(2)
	if err != nil {
		return err
	}
	if s.master, err = s.startServer(ctx, "redis-a"); err != nil {
		return err
	}
	if s.replica, err = s.startServer(ctx, "redis-b"); err != nil {
		return err
	}
	if s.toRedis, err = s.proxies.open(ctx, "redis", local(ports[0]), s.master.Addr); err != nil {
		return err
	}
	if s.toReplication, err = s.proxies.open(ctx, "the replication", local(ports[1]), s.master.Addr); err != nil {
		return err
	}
	s.redis = redis.NewClient(&redis.Options{Addr: s.master.Addr, MaxRetries: -1})
	return s.replicate(ctx)
}

// startServer starts a server that may become master or replica. Its file is only ever appended to, so that a point in it
// stands for a point in time.
func (s *stack) startServer(ctx context.Context, name string) (*engine.Process, error) {
	return engine.StartRedis(ctx, engine.RedisOptions{Name: name, Dir: s.dir, Args: []string{"--auto-aof-rewrite-percentage", "0"}})
}

func (s *stack) startCluster(ctx context.Context) (err error) {
	s.cluster, err = engine.StartRedisCluster(ctx, s.dir, 3, nil)
	if err != nil {
		return err
	}
	s.redis = redis.NewClusterClient(&redis.ClusterOptions{Addrs: s.redisAddrs()})
	return nil
}

// startKafka gives each node its proxy as the address that it tells clients and the other nodes.
func (s *stack) startKafka(ctx context.Context) error {
	ports, err := engine.FreePorts(2 * kafkaNodes)
	if err != nil {
		return err
	}
	advertised := make([]string, kafkaNodes)
	for i := range kafkaNodes {
		advertised[i] = local(ports[kafkaNodes+i])
		p, err := s.proxies.open(ctx, "kafka-"+strconv.Itoa(i+1), advertised[i], local(ports[i]))
		if err != nil {
			return err
		}
		s.toKafka = append(s.toKafka, p)
	}
	s.kafka, err = engine.StartKafka(ctx, engine.KafkaOptions{
		Libs: s.scratch.Cache.KafkaLibs(), Dir: s.dir, Nodes: kafkaNodes, Ports: ports[:kafkaNodes], Advertised: advertised})
	return err
}

func (s *stack) startMongoDB(ctx context.Context) (err error) {
	c := s.scratch.Cache
	s.mongodb, err = engine.StartMongoDB(ctx, engine.MongoDBOptions{
		Root: c.DocumentDB(), Template: c.DocumentDBTemplate(), FerretDB: c.FerretDB(), Dir: s.dir})
	if err != nil {
		return err
	}
	ports, err := engine.FreePorts(1)
	if err != nil {
		return err
	}
	if s.toMongoDB, err = s.proxies.open(ctx, "mongodb", local(ports[0]), s.mongodb.FerretDB.Addr); err != nil {
		return err
	}
	s.mongo, err = mongo.Connect(options.Client().ApplyURI(s.mongodb.URI).SetServerSelectionTimeout(5 * time.Second))
	return err
}

func (s *stack) startProduct(ctx context.Context, env []string) error {
	uri, err := url.Parse(s.mongodb.URI)
	if err != nil {
		return err
	}
	uri.Host = s.toMongoDB.addr
	ports, err := engine.FreePorts(apis + consumers)
	if err != nil {
		return err
	}
	env = append([]string{
		"REDIS_ADDRS=" + strings.Join(s.redisAddrs(), ","), "KAFKA_BROKERS=" + strings.Join(s.brokers(), ","), "MONGODB_URI=" + uri.String(),
		"JWT_SECRET=" + secret, "RATE_LIMIT=0", "LOG_FORMAT=text", "TOPIC_REPLICATION=3", "TOPIC_PARTITIONS=" + strconv.Itoa(partitions),
	}, env...)
	for i := range apis + consumers {
		name, variable := "api", "HTTP_ADDR"
		if i >= apis {
			name, variable = "consumers", "OPS_ADDR"
		}
		own := env
		if i >= apis {
			dir, err := s.newSpool(ctx, strconv.Itoa(i%apis+1))
			if err != nil {
				return err
			}
			own = append([]string{"SPOOL_DIR=" + dir}, env...)
		}
		p := newProcess(fmt.Sprintf("%s-%d", name, i%apis+1), s.scratch.Program(name), variable, local(ports[i]), s.dir, own)
		if i < apis {
			s.apis = append(s.apis, p)
		} else {
			s.consumers = append(s.consumers, p)
		}
		if err := p.Start(ctx); err != nil {
			return err
		}
	}
	return s.ready(ctx)
}

// redisAddrs are what the product is told.
func (s *stack) redisAddrs() (addrs []string) {
	if s.cluster == nil {
		return []string{s.toRedis.addr}
	}
	for _, n := range s.cluster {
		addrs = append(addrs, n.Addr)
	}
	return addrs
}

func (s *stack) brokers() (addrs []string) {
	for _, p := range s.toKafka {
		addrs = append(addrs, p.addr)
	}
	return addrs
}

func (s *stack) processes() []*process {
	return append(append([]*process{}, s.apis...), s.consumers...)
}

// ready waits until every process says that it can do all that it is there for.
func (s *stack) ready(ctx context.Context) error {
	for _, p := range s.processes() {
		if err := p.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// admin is for questions about Kafka.
func (s *stack) admin() *kadm.Client { return kadm.NewClient(s.log) }

// createBooks fills the catalogue.
func (s *stack) createBooks(ctx context.Context, boss string) error {
	for i := range books {
		body := fmt.Sprintf(`{"bookId":%q,"title":"Volume %d","author":"Anonymous","unitPrice":%d,"stock":5}`, bookID(i), i, 1000+i)
		a, err := send(ctx, s.apis[0].addr, boss, call{method: http.MethodPost, path: "/v1/books", body: body})
		if err != nil || a.status != http.StatusCreated {
			return fmt.Errorf("create a book: %d %s %w", a.status, a.body, err)
		}
	}
	return nil
}

// close ends everything; the data goes with the scratch directory.
func (s *stack) close() error {
	for _, p := range s.processes() {
		_ = p.Kill()
	}
	if s.log != nil {
		s.log.Close()
	}
	if s.mongo != nil {
		_ = s.mongo.Disconnect(context.Background())
	}
	if s.redis != nil {
		_ = s.redis.Close()
	}
	for _, p := range append(s.toKafka, s.toRedis, s.toReplication, s.toMongoDB) {
		if p != nil {
			p.cut()
		}
	}
	return errors.Join(scratch.Unmount(s.dir), scratch.KillAll(s.dir))
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
