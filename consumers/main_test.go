package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"cartstream/deploy/enginetest"
)

// asCommand makes the test binary the command itself, so that the tests see what whoever starts it sees.
const asCommand = "CARTSTREAM_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// execute runs the command to its end.
func execute(t *testing.T, env map[string]string, args ...string) (code int, out, complaints string) {
	t.Helper()
	cmd := prepare(t, env, args...)
	var o, c bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &c
	_ = cmd.Run() // the exit code tells
	return cmd.ProcessState.ExitCode(), o.String(), c.String()
}

// prepare returns the command with nothing in its environment but env, a secret for tokens and a free port.
func prepare(t *testing.T, env map[string]string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = []string{asCommand + "=1", "OPS_ADDR=127.0.0.1:0", "JWT_SECRET=of-the-tests"}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

func TestWhatIsWrongIsSaidAtOnceWithExitCode2(t *testing.T) {
	for claim, c := range map[string]struct {
		env  map[string]string
		args []string
		says []string
	}{
		"every fault of the environment": {
			env: map[string]string{
				"JWT_SECRET": "", "CURRENCY": "euros", "TOPIC_PARTITIONS": "7",
				"MONGODB_URI": "mongodb://root:hush@localhost:27017", "REDIS_ADDRS": "redis://:hush@[", "LOG_FORMAT": "xml",
			},
			says: []string{"JWT_SECRET", "JWT_JWKS_URL", "CURRENCY", "TOPIC_PARTITIONS (7) does not divide SHARDS (128)",
				"MONGODB_URI", "REDIS_ADDRS", "LOG_FORMAT"},
		},
		"no clock that shows when": {
			env:  map[string]string{"REMIND_AFTER": "soon", "RECONCILE_EVERY": "0s", "NIGHTLY_AT": "noon", "TIMEZONE": "Mars/Olympus"},
			says: []string{"REMIND_AFTER", "RECONCILE_EVERY", "NIGHTLY_AT", "TIMEZONE"},
		},
		"an unknown consumer, with those that there are": {
			args: []string{"persist", "prsist"}, says: []string{`"prsist"`, "persist, push, state"},
		},
		"a relay without a sender, and nothing that signs or bases its links": {
			env:  map[string]string{"SMTP_ADDR": "relay", "SMTP_PASSWORD": "hush", "JWT_SECRET": "", "JWT_JWKS_URL": "https://issuer.example/keys"},
			says: []string{"MAIL_FROM is unset", "SMTP_ADDR holds", "SMTP_USERNAME", "LINK_SECRET is unset"},
		},
		"the mailer alone, without a relay": {args: []string{"reminder"}, says: []string{"reminder needs SMTP_ADDR and MAIL_FROM"}},
		"an unknown flag":                   {args: []string{"--verbose"}, says: []string{`"--verbose"`}},
		"both a name and the environment": {
			env: map[string]string{"CURRENCY": "euros"}, args: []string{"prsist"}, says: []string{"prsist", "CURRENCY"},
		},
	} {
		t.Run(claim, func(t *testing.T) {
			code, out, complaints := execute(t, c.env, c.args...)
			if code != 2 || out != "" {
				t.Errorf("exit code %d, output %q", code, out)
			}
			for _, text := range c.says {
				if !strings.Contains(complaints, text) {
					t.Errorf("nothing about %s in:\n%s", text, complaints)
				}
			}
			if strings.Contains(complaints, "hush") {
				t.Errorf("a password shows:\n%s", complaints)
			}
		})
	}
}

func TestHelpListsConsumersAndEnvironment(t *testing.T) {
	code, out, complaints := execute(t, map[string]string{"JWT_SECRET": ""}, "--help")
	if code != 0 || complaints != "" {
		t.Errorf("exit code %d, complaints %q", code, complaints)
	}
	for _, e := range table {
		if !strings.Contains(out, e.name) || !strings.Contains(out, e.carries) {
			t.Errorf("nothing about %s in:\n%s", e.name, out)
		}
	}
	for _, one := range timers {
		if !strings.Contains(out, one.name) || !strings.Contains(out, one.does) {
			t.Errorf("nothing about %s in:\n%s", one.name, out)
		}
	}
	for _, name := range []string{"OPS_ADDR", "REDIS_ADDRS", "KAFKA_BROKERS", "MONGODB_URI", "JWT_SECRET", "REMIND_AFTER", "NIGHTLY_AT", "LOG_LEVEL",
		"HTTP_ADDR", "ACK", "RATE_LIMIT"} { // the last ones are the api's
		if strings.Count(out, "\n"+name+" ") != 1 {
			t.Errorf("%s is not listed once in:\n%s", name, out)
		}
	}
}

func TestWhatTheAPIAloneUsesIsNoFaultHere(t *testing.T) {
	code, _, complaints := execute(t, map[string]string{
		"HTTP_ADDR": "nowhere", "ACK": "maybe", "RATE_LIMIT": "many", "MAX_LINES": "0", "ALLOWED_ORIGINS": "shop", "CURRENCY": "euros",
	})
	if code != 2 || !strings.Contains(complaints, "CURRENCY") || strings.Count(complaints, "\n") != 1 {
		t.Errorf("exit code %d, and more faults than that of CURRENCY:\n%s", code, complaints)
	}
}

func TestATakenPortIsSaidAtOnce(t *testing.T) {
	first := start(t, nil)
	code, _, complaints := execute(t, map[string]string{"OPS_ADDR": first.addr})
	if code != 1 || !strings.Contains(complaints, "OPS_ADDR") || !strings.Contains(complaints, "address already in use") {
		t.Errorf("exit code %d:\n%s", code, complaints)
	}
}

func TestAnotherNumberOfPartitionsThanStoredRefusesToStart(t *testing.T) {
	kafka := map[string]string{"KAFKA_BROKERS": enginetest.Kafka(t), "TOPIC_PARTITIONS": "4"}
	first := start(t, kafka)
	first.await("the topics are there", func() bool { return first.logged(`"consuming"`) })
	kafka["TOPIC_PARTITIONS"] = "8"
	code, _, complaints := execute(t, kafka)
	if code != 2 || !strings.Contains(complaints, "TOPIC_PARTITIONS") {
		t.Errorf("exit code %d:\n%s", code, complaints)
	}
}

func TestAnotherNumberOfShardsThanStoredRefusesToStart(t *testing.T) {
	engines := map[string]string{"KAFKA_BROKERS": enginetest.Kafka(t), "REDIS_ADDRS": enginetest.Redis(t), "TOPIC_PARTITIONS": "4", "SHARDS": "16"}
	first := start(t, engines)
	redis := redis.NewClient(&redis.Options{Addr: engines["REDIS_ADDRS"]})
	defer redis.Close()
	first.await("the number of shards is stored", func() bool { return redis.Exists(t.Context(), "cartstream:shards").Val() > 0 })
	for _, other := range []string{"8", "32"} {
		engines["SHARDS"] = other
		code, _, complaints := execute(t, engines)
		if code != 2 || !strings.Contains(complaints, "SHARDS") {
			t.Errorf("%s: exit code %d:\n%s", other, code, complaints)
		}
	}
}
