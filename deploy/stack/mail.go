package main

import (
	"context"
	"errors"
	"fmt"
	netmail "net/mail"
	"path/filepath"
	"strings"

	"cartstream/deploy/launch"
)

// mailVariables say where mails go and what their links are.
var mailVariables = []string{"SMTP_ADDR", "MAIL_FROM", "PUBLIC_URL", "SHOP_URL", "LINK_SECRET"}

// The mail catcher, which takes every mail and sends none on: in docker-compose.yml, and where it usually listens.
const (
	mailService  = "mailpit"
	mailPort     = 1025
	mailPortName = "SMTP_PORT"
	mailUIPort   = 8025
	mailUIName   = "MAIL_UI_PORT"
	mailFrom     = "cartstream <cart@cartstream.example>"
)

// addressing decides what links in mails point to and are signed with.
func (s *stack) addressing(env map[string]string) error {
	for _, name := range mailVariables {
		if v := s.environ[name]; v != "" {
			env[name] = v
		}
	}
	if env["PUBLIC_URL"] == "" {
		env["PUBLIC_URL"] = baseURL(env["HTTP_ADDR"])
	}
	if env["LINK_SECRET"] == "" && env["JWT_SECRET"] == "" {
		secret, err := s.secret()
		if err != nil {
			return err
		}
		env["LINK_SECRET"] = secret
	}
	return nil
}

// catchesMail reports whether mails are to be caught here: the environment names no relay for them.
func (s *stack) catchesMail() bool { return s.environ["SMTP_ADDR"] == "" }

// caught notes where the catcher listens and where mails can be looked at.
func caught(r *running, addr, at string) {
	r.Env["SMTP_ADDR"], r.Mails = addr, at
	if r.Env["MAIL_FROM"] == "" {
		r.Env["MAIL_FROM"] = mailFrom
	}
}

// embeddedMail asks for a catcher beside the embedded engines. Nobody has to know its port, so another one will do.
func embeddedMail(ctx context.Context, o *launch.Options, freePorts bool) error {
	o.Mail = true
	if freePorts {
		return nil
	}
	err := portFree(ctx, fmt.Sprintf("127.0.0.1:%d", mailPort))
	switch {
	case err == nil:
		o.MailPort = mailPort
	case !errors.Is(err, errTaken):
		return fmt.Errorf("mail: %w", err)
	}
	return nil
}

// dockerMail notes where docker compose's catcher will listen and returns the environment that moves it there.
func dockerMail(ctx context.Context, r *running, freePorts bool) ([]string, error) {
	ports := []int{mailPort, mailUIPort}
	for i, usual := range ports {
		err := portFree(ctx, fmt.Sprintf("127.0.0.1:%d", usual))
		if err == nil && !freePorts {
			continue
		}
		if ports[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	caught(r, fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1]))
	return []string{fmt.Sprintf("%s=%d", mailPortName, ports[0]), fmt.Sprintf("%s=%d", mailUIName, ports[1])}, nil
}

// mails is where mails go, for people.
func (s *stack) mails(r running) string {
	switch {
	case strings.HasPrefix(r.Mails, "http"):
		return r.Mails + "  (Mailpit: shows every mail, sends none on)"
	case r.Mails != "":
		return filepath.Join(r.Mails, "*.eml") + "  (every mail is kept there, none is sent on)"
	case r.Env["SMTP_ADDR"] != "":
		return r.Env["SMTP_ADDR"] + "  (yours)"
	}
	return "reminders stay queued until SMTP_ADDR and MAIL_FROM are set"
}

// emailOf is the address that a user's token names: the id itself where it is one, else one that nobody owns; "" where
// neither can be.
func emailOf(user string) string {
	address := user
	if !strings.Contains(user, "@") {
		address += "@example.com"
	}
	if a, err := netmail.ParseAddress(address); err != nil || a.Address != address {
		return ""
	}
	return address
}
