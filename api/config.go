package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"cartstream/schemas/env"
)

// config is everything that the environment decides.
type config struct {
	env.API

	// SMTPAddr is the relay of the mailer, which consumers runs: where set, the links in its mails have to work here.
	SMTPAddr string `env:"SMTP_ADDR"`

	HTTP      env.HTTP
	Redis     env.Redis
	Kafka     env.Kafka
	MongoDB   env.MongoDB
	JWT       env.JWT
	Links     env.Links
	Currency  env.Currency
	Reminders env.Reminders
	Log       env.Log
	Traces    env.Traces
}

// maxPieces is how many pieces of the highest price make an amount that Redis's scripts, which count in doubles, know exactly.
const maxPieces = (1 << 53) / 999_999_999

// maxLines is how many lines, whose titles take 3,000 bytes at most, fit into the 4 MiB of a record.
const maxLines = 1000

func readConfig() (config, error) {
	var c config
	err := env.Parse(&c)
	if c.Ack != "redis" && c.Ack != "kafka" {
		err = errors.Join(err, fmt.Errorf("ACK is %q: redis or kafka", c.Ack))
	}
	if c.MaxQuantity < 1 || c.MaxLines < 1 || c.KeepAnswers < time.Second || c.DrainFor < 0 {
		err = errors.Join(err, errors.New("MAX_QUANTITY and MAX_LINES are at least 1, IDEMPOTENCY_TTL at least 1s, DRAIN_FOR at least 0s"))
	}
	if c.MaxLines > 0 && c.MaxQuantity > maxPieces/c.MaxLines {
		err = errors.Join(err, fmt.Errorf("MAX_QUANTITY times MAX_LINES is at most %d, so that totals are exact", maxPieces))
	}
	if c.MaxLines > maxLines {
		err = errors.Join(err, fmt.Errorf("MAX_LINES is at most %d, so that a whole cart fits into a record", maxLines))
	}
	return c, errors.Join(err, env.CheckShards(c.Redis, c.Kafka), env.CheckLinks(c.SMTPAddr, c.Links, c.JWT))
}

func help(w io.Writer) error {
	if _, err := fmt.Fprint(w, "api answers the REST and WebSocket calls of carts and books, and relays their changes to Kafka.\n"+
		"\n  api                        serves\n  api recover --accept-loss  opens shards that wait for a Kafka that won't come back, and prints what is given up\n\n"+
		"It takes its settings from the environment:\n\n"); err != nil {
		return err
	}
	return env.Help(w, &config{})
}
