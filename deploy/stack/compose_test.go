package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

func composeProject(t *testing.T, env ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"../../docker-compose.yml"}, cli.WithEnv(env))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return project
}

// No Docker engine is needed: compose's own library loads the file.
func TestTheComposeFile(t *testing.T) {
	project := composeProject(t, "JWT_SECRET=s3cret")
	const want = "api consumers kafka mailpit mongodb redis"
	if got := strings.Join(project.ServiceNames(), " "); got != want {
		t.Fatalf("services %q, want %q", got, want)
	}
	ours := []string{"api", "consumers"}
	pinned := regexp.MustCompile(`:v?\d+\.\d+\.\d+(-[a-z]+)?$`)

	for claim, holds := range map[string]func(name string, s types.ServiceConfig) bool{
		"every image is pinned to a patch release or built here": func(name string, s types.ServiceConfig) bool {
			return pinned.MatchString(s.Image) || s.Build != nil && slices.Contains(ours, name)
		},
		"every service has a health check": func(_ string, s types.ServiceConfig) bool {
			return s.HealthCheck != nil && !s.HealthCheck.Disable && len(s.HealthCheck.Test) > 1 && s.HealthCheck.Interval != nil
		},
		"every service comes back after a crash": func(_ string, s types.ServiceConfig) bool { return s.Restart == "unless-stopped" },
		"nothing runs as root": func(name string, s types.ServiceConfig) bool {
			return slices.Contains(ours, name) || s.User != "" && s.User != "root" && s.User != "0"
		},
		"every service has time to stop in order": func(_ string, s types.ServiceConfig) bool {
			return s.StopGracePeriod != nil && time.Duration(*s.StopGracePeriod) >= 30*time.Second
		},
		"ports are open on this machine only": func(_ string, s types.ServiceConfig) bool {
			return len(s.Ports) > 0 && !slices.ContainsFunc(s.Ports, func(p types.ServicePortConfig) bool { return p.HostIP != "127.0.0.1" })
		},
		"every engine keeps its data in a named volume": func(name string, s types.ServiceConfig) bool {
			data := map[string]string{"redis": "/data", "kafka": "/var/lib/kafka/data", "mongodb": "/data/db", "consumers": "/spool"}
			return name == "api" || name == "mailpit" || slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool {
				_, named := project.Volumes[v.Source]
				return v.Type == types.VolumeTypeVolume && v.Target == data[name] && named
			})
		},
		"our containers wait for healthy engines and can change nothing of themselves": func(name string, s types.ServiceConfig) bool {
			if !slices.Contains(ours, name) {
				return true
			}
			for _, engine := range []string{"redis", "kafka", "mongodb"} {
				if s.DependsOn[engine].Condition != types.ServiceConditionHealthy {
					return false
				}
			}
			return s.ReadOnly && slices.Equal(s.CapDrop, []string{"ALL"}) && slices.Contains(s.SecurityOpt, "no-new-privileges:true")
		},
		"our containers reach the engines and get the secret": func(name string, s types.ServiceConfig) bool {
			want := map[string]string{"REDIS_ADDRS": "redis:6379", "KAFKA_BROKERS": "kafka:19092",
				"MONGODB_URI": "mongodb://mongodb:27017/cartstream", "JWT_SECRET": "s3cret",
				"SMTP_ADDR": "mailpit:1025", "PUBLIC_URL": "http://localhost:8080"}
			for key, value := range want {
				if slices.Contains(ours, name) && (s.Environment[key] == nil || *s.Environment[key] != value) {
					return false
				}
			}
			return true
		},
	} {
		for _, s := range project.AllServices() {
			t.Run(claim+"/"+s.Name, func(t *testing.T) {
				if !holds(s.Name, s) {
					t.Fatal("it does not hold")
				}
			})
		}
	}
}

func TestTheEnginesInTheComposeFile(t *testing.T) {
	project := composeProject(t, "KAFKA_PORT=19999", "REDIS_PORT=16379", "MONGODB_PORT=37017")
	redis, kafka, mongodb := project.Services["redis"], project.Services["kafka"], project.Services["mongodb"]
	command := strings.Join(redis.Command, " ")
	kafkaIs := func(key, value string) bool {
		got := kafka.Environment["KAFKA_"+key]
		return got != nil && *got == value
	}
	for claim, holds := range map[string]bool{
		"Redis fsyncs its AOF each second":              strings.Contains(command, "--appendonly yes --appendfsync everysec"),
		"Redis refuses writes rather than evict a cart": strings.Contains(command, "--maxmemory-policy noeviction"),
		"Kafka is a 4":                         strings.HasPrefix(kafka.Image, "apache/kafka:4."),
		"Redis is a 7 or newer":                regexp.MustCompile(`^redis:([7-9]|\d\d)\.`).MatchString(redis.Image),
		"MongoDB is a 7 or 8":                  regexp.MustCompile(`^mongo:[78]\.`).MatchString(mongodb.Image),
		"one broker can hold all offsets":      kafkaIs("OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
		"one broker can hold all transactions": kafkaIs("TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1") && kafkaIs("TRANSACTION_STATE_LOG_MIN_ISR", "1"),
		"no topic is made unasked":             kafkaIs("AUTO_CREATE_TOPICS_ENABLE", "false"),
		"Kafka's data is where its volume is":  kafkaIs("LOG_DIRS", "/var/lib/kafka/data"),
		"a moved Kafka port is the one that is told to programs on this machine": kafkaIs("ADVERTISED_LISTENERS", "INSIDE://kafka:19092,HOST://127.0.0.1:19999") &&
			kafka.Ports[0].Published == "19999",
		"the other engines' ports move too":        redis.Ports[0].Published == "16379" && mongodb.Ports[0].Published == "37017",
		"the variables are those that up sets":     engines[0].portName == "REDIS_PORT" && engines[1].portName == "KAFKA_PORT" && engines[2].portName == "MONGODB_PORT",
		"the usual ports are those that up names":  usualPorts(composeProject(t)),
		"the services are those that up asks for":  engines[0].service == redis.Name && engines[1].service == kafka.Name && engines[2].service == mongodb.Name,
		"Kafka's cluster id is 22 of base64url":    regexp.MustCompile(`^[A-Za-z0-9_-]{22}$`).MatchString(*kafka.Environment["CLUSTER_ID"]),
		"the controller's port is not open at all": !slices.ContainsFunc(kafka.Ports, func(p types.ServicePortConfig) bool { return p.Target == 9093 }),
	} {
		t.Run(claim, func(t *testing.T) {
			if !holds {
				t.Fatal("it does not hold")
			}
		})
	}
}

func usualPorts(p *types.Project) bool {
	for _, e := range engines {
		if p.Services[e.service].Ports[0].Published != strconv.Itoa(e.port) {
			return false
		}
	}
	return true
}

func TestTheImage(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	file := string(b)
	stages := regexp.MustCompile(`(?m)^FROM (\S+)`).FindAllStringSubmatch(file, -1)
	for claim, holds := range map[string]bool{
		"it is built in a pinned stage of its own": len(stages) == 2 && regexp.MustCompile(`^golang:\d+\.\d+\.\d+-`).MatchString(stages[0][1]),
		"it holds nothing but what is copied":      len(stages) == 2 && stages[1][1] == "scratch",
		"it runs as nobody, by number":             regexp.MustCompile(`(?m)^USER 65532:65532$`).MatchString(file),
		"it holds both binaries and the probe":     strings.Contains(file, "COPY --from=build /out/api /out/consumers /out/healthy /"),
		"the binaries need no libc":                strings.Contains(file, "CGO_ENABLED=0"),
	} {
		t.Run(claim, func(t *testing.T) {
			if !holds {
				t.Fatal("it does not hold")
			}
		})
	}
}
