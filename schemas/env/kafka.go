package env

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"cartstream/schemas"
)

// Kafka says where the events go.
type Kafka struct {
	Brokers       []string `env:"KAFKA_BROKERS" envDefault:"127.0.0.1:9092" help:"comma-separated host:port"`
	TLS           bool     `env:"KAFKA_TLS" envDefault:"false" help:"connect with TLS, by the system's roots"`
	SASLMechanism string   `env:"KAFKA_SASL_MECHANISM" help:"PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"`
	SASLUsername  string   `env:"KAFKA_SASL_USERNAME" help:"user of the mechanism"`
	SASLPassword  Secret   `env:"KAFKA_SASL_PASSWORD" help:"password of the mechanism"`
	Partitions    int      `env:"TOPIC_PARTITIONS" envDefault:"16" help:"partitions of each topic; divides SHARDS; fixed once data is written"`
	Replication   int      `env:"TOPIC_REPLICATION" envDefault:"1" help:"replicas of each topic when it is created"`
}

func (k *Kafka) check() []error {
	var faults []error
	if k.Partitions < 1 {
		faults = append(faults, fmt.Errorf("TOPIC_PARTITIONS is %d: at least 1", k.Partitions))
	}
	if k.Replication < 1 || k.Replication > 32767 {
		faults = append(faults, fmt.Errorf("TOPIC_REPLICATION is %d: 1 to 32767", k.Replication))
	}
	if _, err := k.Options(); err != nil {
		faults = append(faults, err)
	}
	return faults
}

// CheckShards reports a number of partitions that doesn't divide the number of shards: a shard's events would then go to
// more than one partition.
func CheckShards(r Redis, k Kafka) error {
	if k.Partitions > 0 && r.Shards%k.Partitions != 0 {
		return fmt.Errorf("environment: TOPIC_PARTITIONS (%d) does not divide SHARDS (%d)", k.Partitions, r.Shards)
	}
	return nil
}

// Options returns what every client of these brokers needs. A change of leader is known within a quarter of a second.
func (k *Kafka) Options() ([]kgo.Opt, error) {
	brokers := addresses(k.Brokers)
	o := []kgo.Opt{
		kgo.SeedBrokers(brokers...),
		kgo.ClientID("cartstream"),
		kgo.MetadataMinAge(250 * time.Millisecond),
	}
	if len(brokers) == 0 {
		return nil, errors.New("KAFKA_BROKERS is empty")
	}
	for _, broker := range brokers {
		if err := checkAddress("KAFKA_BROKERS", broker); err != nil {
			return nil, err
		}
	}
	if k.TLS {
		o = append(o, kgo.DialTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12}))
	}
	switch strings.ToUpper(k.SASLMechanism) {
	case "":
		if k.SASLUsername != "" || k.SASLPassword != "" {
			return nil, errors.New("KAFKA_SASL_USERNAME or KAFKA_SASL_PASSWORD without KAFKA_SASL_MECHANISM")
		}
	case "PLAIN":
		o = append(o, kgo.SASL(plain.Auth{User: k.SASLUsername, Pass: string(k.SASLPassword)}.AsMechanism()))
	case "SCRAM-SHA-256":
		o = append(o, kgo.SASL(scram.Auth{User: k.SASLUsername, Pass: string(k.SASLPassword)}.AsSha256Mechanism()))
	case "SCRAM-SHA-512":
		o = append(o, kgo.SASL(scram.Auth{User: k.SASLUsername, Pass: string(k.SASLPassword)}.AsSha512Mechanism()))
	default:
		return nil, fmt.Errorf("KAFKA_SASL_MECHANISM is %q: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", k.SASLMechanism)
	}
	return o, nil
}

// ErrPartitions says that a topic has another number of partitions than TOPIC_PARTITIONS: users' changes would change
// places, so nothing may start.
var ErrPartitions = errors.New("TOPIC_PARTITIONS differs from what is stored")

// EnsureTopics creates the topics that are missing, with the contract's settings, and leaves those that exist as they
// are. It returns ErrPartitions where one has another number of partitions; any other error is worth another try.
func (k *Kafka) EnsureTopics(ctx context.Context, client *kgo.Client) error {
	admin := kadm.NewClient(client)
	for _, t := range schemas.Topics(k.Partitions, k.Replication) {
		configs := make(map[string]*string, len(t.Configs))
		for name, value := range t.Configs {
			configs[name] = &value
		}
		_, err := admin.CreateTopic(ctx, int32(t.Partitions), int16(t.Replication), configs, t.Name) //nolint:gosec // check bounds both
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("create topic %s: %w", t.Name, err)
		}
	}
	return k.checkPartitions(ctx, admin)
}

func (k *Kafka) checkPartitions(ctx context.Context, admin *kadm.Client) error {
	for _, t := range schemas.Topics(k.Partitions, k.Replication) {
		found, err := admin.ListTopics(ctx, t.Name)
		if err != nil {
			return fmt.Errorf("look at topic %s: %w", t.Name, err)
		}
		d, ok := found[t.Name]
		if !ok || d.Err != nil {
			return fmt.Errorf("look at topic %s: %w", t.Name, errors.Join(d.Err, schemas.ErrUnavailable))
		}
		if len(d.Partitions) != k.Partitions {
			return fmt.Errorf("%w: topic %s has %d, wanted %d", ErrPartitions, t.Name, len(d.Partitions), k.Partitions)
		}
	}
	return nil
}
