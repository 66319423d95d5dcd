package env_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/schemas/env"
)

func TestBlanksAndEmptyAddressesDontCount(t *testing.T) {
	list, want := []string{" a:1", "b:2 ", "", " "}, []string{"a:1", "b:2"}
	k := env.Kafka{Brokers: list}
	options, err := k.Options()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if got := client.OptValue(kgo.SeedBrokers); !slices.Equal(got.([]string), want) {
		t.Errorf("Kafka at %q, want %q", got, want)
	}
	r := env.Redis{Addrs: list}
	o, err := r.Options()
	if err != nil || !slices.Equal(o.Addrs, want) || !o.IsClusterMode {
		t.Errorf("Redis at %q, %v, want a cluster at %q", o.Addrs, err, want)
	}
	r = env.Redis{Addrs: []string{"a:1", ""}}
	if o, err := r.Options(); err != nil || o.IsClusterMode {
		t.Errorf("one address and a comma: %v, cluster %v, want one server", err, o.IsClusterMode)
	}
}

func TestAnAddressIsHostAndPort(t *testing.T) {
	for claim, tc := range map[string]struct {
		address string
		good    bool
	}{
		"a name and a port":     {"kafka-1.internal:9092", true},
		"IPv4 and a port":       {"127.0.0.1:9092", true},
		"IPv6 and a port":       {"[::1]:9092", true},
		"no port":               {"kafka", false},
		"an empty port":         {"kafka:", false},
		"no host":               {":9092", false},
		"two ports":             {"kafka:9092:9093", false},
		"a port in letters":     {"kafka:http", false},
		"a port that can't be":  {"kafka:99999", false},
		"IPv6 without brackets": {"::1:9092", false},
	} {
		t.Run(claim, func(t *testing.T) {
			k, r := env.Kafka{Brokers: []string{tc.address}}, env.Redis{Addrs: []string{tc.address}}
			_, ofKafka := k.Options()
			_, ofRedis := r.Options()
			for name, err := range map[string]error{"KAFKA_BROKERS": ofKafka, "REDIS_ADDRS": ofRedis} {
				switch {
				case tc.good && err != nil:
					t.Errorf("refused: %v", err)
				case !tc.good && (err == nil || !strings.Contains(err.Error(), name+" holds")):
					t.Errorf("got %v, want a fault about %s", err, name)
				}
			}
		})
	}
}
