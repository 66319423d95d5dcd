package env_test

import (
	"strings"
	"testing"

	"cartstream/schemas/env"
)

func TestHelpTellsWhatIsReadFromWhatTheOtherBinaryUses(t *testing.T) {
	type writer struct {
		env.API
		Kafka env.Kafka
		Relay string `env:"SMTP_ADDR"` // one of several, told as everywhere
	}
	var out strings.Builder
	if err := env.Help(&out, &writer{}); err != nil {
		t.Fatal(err)
	}
	here, other, ok := strings.Cut(out.String(), "The other binary")
	if !ok {
		t.Fatalf("in one list: %s", out.String())
	}
	for name, read := range map[string]bool{
		"HTTP_ADDR": true, "ACK": true, "TOPIC_PARTITIONS": true, "SMTP_ADDR": true,
		"OPS_ADDR": false, "SPOOL_DIR": false, "MAIL_FROM": false, "REDIS_ADDRS": false, "OTEL_EXPORTER_OTLP_ENDPOINT": false,
	} {
		line := "\n" + name + " "
		if strings.Contains("\n"+here, line) != read || strings.Contains(other, line) == read {
			t.Errorf("%s is read: %v, in:\n%s", name, read, out.String())
		}
	}
	if !strings.Contains(here, "host:port of the relay that takes mails") {
		t.Errorf("nothing tells what SMTP_ADDR is:\n%s", here)
	}
}

func TestANameThatHelpDoesNotListIsAFault(t *testing.T) {
	err := env.Help(&strings.Builder{}, &struct {
		Secret string `env:"NOBODY_KNOWS"`
	}{})
	if err == nil || !strings.Contains(err.Error(), "NOBODY_KNOWS") {
		t.Error(err)
	}
}

func TestHelpListsWhatTheContractNames(t *testing.T) {
	var out strings.Builder
	if err := env.Help(&out, &settings{}); err != nil {
		t.Fatal(err)
	}
	listed := map[string]int{}
	for line := range strings.Lines(out.String()) {
		name, _, _ := strings.Cut(line, " ")
		listed[name]++
	}
	for _, name := range strings.Fields(`HTTP_ADDR OPS_ADDR REDIS_ADDRS REDIS_CLUSTER REDIS_MASTER_NAME KAFKA_BROKERS KAFKA_TLS
		KAFKA_SASL_MECHANISM KAFKA_SASL_USERNAME KAFKA_SASL_PASSWORD MONGODB_URI JWT_SECRET JWT_JWKS_URL JWT_ISSUER JWT_AUDIENCE
		ALLOWED_ORIGINS CURRENCY RATE_LIMIT ACK SMTP_ADDR MAIL_FROM SMTP_USERNAME SMTP_PASSWORD PUBLIC_URL SHOP_URL LINK_SECRET SPOOL_DIR
		RECONCILE_EVERY NIGHTLY_AT REMIND_AFTER TIMEZONE SHARDS TOPIC_PARTITIONS TOPIC_REPLICATION LOG_LEVEL LOG_FORMAT
		OTEL_EXPORTER_OTLP_ENDPOINT IDEMPOTENCY_TTL`) {
		if listed[name] != 1 {
			t.Errorf("%s is listed %d times", name, listed[name])
		}
	}
}
