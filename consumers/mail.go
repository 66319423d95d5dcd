package main

import (
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"cartstream/consumers/reminder"
	"cartstream/schemas/env"
	"cartstream/schemas/link"
)

// mailer is the consumer that needs a relay for its mails.
const mailer = reminder.Group

// errNoRelay says that the only consumer that was asked for can't run.
var errNoRelay = errors.New(mailer + " needs SMTP_ADDR and MAIL_FROM")

// deliverable returns the chosen without the mailer, where there is no relay: reminders then stay queued in their topic,
// and a later start with one sends those that are still valid. The error is errNoRelay where that leaves nothing.
func deliverable(chosen []entry, m env.Mail, log *slog.Logger) ([]entry, error) {
	if m.Wanted() {
		return chosen, nil
	}
	var kept []entry
	for _, c := range chosen {
		if c.name != mailer {
			kept = append(kept, c)
			continue
		}
		log.Info("reminders stay queued: SMTP_ADDR and MAIL_FROM are unset")
	}
	if len(kept) == 0 && len(chosen) > 0 {
		return nil, errNoRelay
	}
	return kept, nil
}

// newMailer returns the mailer, nil where there is no relay.
func newMailer(cfg config, e *engines, reg prometheus.Registerer, log *slog.Logger) (*reminder.Mailer, error) {
	if !cfg.Mail.Wanted() {
		return nil, nil
	}
	links, err := link.New(cfg.Links, cfg.JWT)
	if err != nil {
		return nil, err
	}
	if cfg.Links.PublicURL == env.DefaultPublicURL {
		log.Warn("links in mails point to this machine: PUBLIC_URL is unset", "url", cfg.Links.PublicURL)
	}
	return reminder.New(reminder.Config{
		Contacts: e.carts, Database: e.mongo, Mail: cfg.Mail, Links: links, PublicURL: cfg.Links.PublicURL, ShopURL: cfg.Links.ShopURL,
		Registerer: reg, Log: log.With("consumer", mailer),
	})
}
