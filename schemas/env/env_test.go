package env_test

import (
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"cartstream/schemas/env"
)

type settings struct {
	Redis    env.Redis
	Kafka    env.Kafka
	MongoDB  env.MongoDB
	JWT      env.JWT
	Currency env.Currency
	Log      env.Log
}

func TestEveryFaultIsToldAtOnceByItsVariable(t *testing.T) {
	for name, value := range map[string]string{
		"TOPIC_PARTITIONS": "many", "SHARDS": "0", "REDIS_MEMORY_FULL": "1.5", "MONGODB_URI": "mongodb://user:s3cret@host", "CURRENCY": "euro",
		"LOG_FORMAT": "xml", "KAFKA_SASL_MECHANISM": "MD5", "JWT_SECRET": "",
	} {
		t.Setenv(name, value)
	}
	err := env.Parse(&settings{})
	if err == nil {
		t.Fatal("nothing is wrong with it")
	}
	for _, name := range []string{"TOPIC_PARTITIONS", "SHARDS", "REDIS_MEMORY_FULL", "MONGODB_URI", "CURRENCY", "LOG_FORMAT", "KAFKA_SASL_MECHANISM", "JWT_SECRET"} {
		if strings.Count(err.Error(), name+" ")+strings.Count(err.Error(), name+":") != 1 {
			t.Errorf("%s isn't named once in:\n%v", name, err)
		}
	}
	if strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a password is in it: %v", err)
	}
}

func TestSecretsDontShow(t *testing.T) {
	const hidden = "thirty-two-characters-of-secret!"
	t.Setenv("JWT_SECRET", hidden)
	t.Setenv("KAFKA_SASL_MECHANISM", "PLAIN")
	t.Setenv("KAFKA_SASL_PASSWORD", hidden)
	var s settings
	if err := env.Parse(&s); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	slog.New(slog.NewTextHandler(&out, nil)).Info("settings", "all", s, "jwt", s.JWT.Secret)
	if strings.Contains(out.String(), hidden) {
		t.Errorf("logged: %s", out.String())
	}
	if string(s.JWT.Secret) != hidden {
		t.Error("the secret itself was not read")
	}
}

func TestHelpListsDefaults(t *testing.T) {
	var out strings.Builder
	if err := env.Help(&out, &settings{}); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"REDIS_ADDRS": "127.0.0.1:6379", "TOPIC_PARTITIONS": "16", "SHARDS": "128", "CURRENCY": "EUR", "OPS_ADDR": ":8090"} {
		if !regexp.MustCompile(`(?m)^` + name + ` +` + regexp.QuoteMeta(value) + ` `).MatchString(out.String()) {
			t.Errorf("%s has not the default %s in:\n%s", name, value, out.String())
		}
	}
}

func TestRedisIsWhatItsAddressesSay(t *testing.T) {
	for claim, c := range map[string]struct {
		redis   env.Redis
		cluster bool
		user    string
		fault   bool
	}{
		"one address is one server":                  {redis: env.Redis{Addrs: []string{"a:1"}}},
		"several are a cluster":                      {redis: env.Redis{Addrs: []string{"a:1", "b:1"}}, cluster: true},
		"one may be a cluster too":                   {redis: env.Redis{Addrs: []string{"a:1"}, Cluster: true}, cluster: true},
		"a URL carries user and password":            {redis: env.Redis{Addrs: []string{"redis://me:pw@a:1"}}, user: "me"},
		"several with a master's name are Sentinels": {redis: env.Redis{Addrs: []string{"a:1", "b:1"}, MasterName: "m"}},
		"a cluster has no databases":                 {redis: env.Redis{Addrs: []string{"redis://a:1/3", "b:1"}}, fault: true},
		"a URL must be one":                          {redis: env.Redis{Addrs: []string{"http://a:1"}}, fault: true},
		"none is a fault":                            {fault: true},
	} {
		t.Run(claim, func(t *testing.T) {
			o, err := c.redis.Options()
			if (err != nil) != c.fault {
				t.Fatal(err)
			}
			if err == nil && (o.IsClusterMode != c.cluster || o.Username != c.user || o.MaxRetries != -1) {
				t.Errorf("%+v", o)
			}
		})
	}
}

func TestPartitionsDivideShards(t *testing.T) {
	if err := env.CheckShards(env.Redis{Shards: 128}, env.Kafka{Partitions: 16}); err != nil {
		t.Error(err)
	}
	if err := env.CheckShards(env.Redis{Shards: 128}, env.Kafka{Partitions: 12}); err == nil {
		t.Error("12 partitions divide 128 shards")
	}
}
