package reminder

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"cartstream/schemas/env"
)

const (
	// idleFor is how long a connection without a mail is kept, idleMost how many are.
	idleFor  = 5 * time.Second
	idleMost = 4
)

// smtpRelay is a relay over SMTP. A connection takes one mail at a time and is used again; one on which anything failed
// is not.
type smtpRelay struct {
	settings env.Mail
	host     string
	port     int
	idle     chan *session
}

// session is a greeted, encrypted and authenticated connection, as far as the settings ask for it.
type session struct {
	client  *mail.Client
	conn    net.Conn
	smtp    *smtp.Client
	expires *time.Timer // while it is idle
}

func newSMTP(settings env.Mail) (*smtpRelay, error) {
	host, text, err := net.SplitHostPort(settings.Addr)
	if err != nil {
		return nil, fmt.Errorf("SMTP_ADDR: %w", err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, fmt.Errorf("SMTP_ADDR: %w", err)
	}
	return &smtpRelay{settings: settings, host: host, port: port, idle: make(chan *session, idleMost)}, nil
}

// send returns nil once the relay took the mail. Any error is a *failure, or ctx's.
func (r *smtpRelay) send(ctx context.Context, m *mail.Msg, address string) error {
	s, used, err := r.connection(ctx)
	if err != nil {
		return err
	}
	err = r.sendOn(ctx, s, m, address)
	var stale *mail.SendError
	if used && errors.As(err, &stale) && stale.Reason == mail.ErrConnCheck {
		// The relay closed a connection that had nothing to do.
		if s, err = r.dial(ctx); err != nil {
			return err
		}
		err = r.sendOn(ctx, s, m, address)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return refused(err)
}

// sendOn sends on the session and keeps it for the next mail, or closes it.
func (r *smtpRelay) sendOn(ctx context.Context, s *session, m *mail.Msg, address string) error {
	stop := context.AfterFunc(ctx, func() { _ = s.conn.Close() })
	// Whoever asks for SMTPUTF8 without need loses the mail at a server behind the relay that hasn't got it.
	s.smtp.SkipSMTPUTF8(isASCII(address))
	if err := s.conn.SetDeadline(time.Now().Add(r.settings.Timeout)); err != nil {
		_ = s.conn.Close()
		stop()
		return err
	}
	err := s.client.SendWithSMTPClient(s.smtp, m)
	if stop() && err == nil {
		r.keep(s)
	} else {
		_ = s.conn.Close()
	}
	if m.IsDelivered() {
		return nil // whatever failed, failed afterwards
	}
	return err
}

// connection returns one that is there, or a new one.
func (r *smtpRelay) connection(ctx context.Context) (s *session, used bool, err error) {
	for {
		select {
		case s := <-r.idle:
			if s.expires.Stop() {
				return s, true, nil
			}
		default:
			s, err := r.dial(ctx)
			return s, false, err
		}
	}
}

func (r *smtpRelay) keep(s *session) {
	s.expires = time.AfterFunc(idleFor, func() { _ = s.conn.Close() })
	select {
	case r.idle <- s:
	default:
		s.expires.Stop()
		_ = s.conn.Close()
	}
}

// dial opens a session. Its failures are the relay's trouble, whatever it says: it has heard of no address yet.
func (r *smtpRelay) dial(ctx context.Context) (*session, error) {
	s := &session{}
	stop := func() bool { return false }
	connect := func(dialing context.Context, network, addr string) (conn net.Conn, err error) {
		var d net.Dialer
		if conn, err = d.DialContext(dialing, network, addr); err != nil {
			return nil, err
		}
		if r.settings.TLS == env.TLSImplicit {
			conn = tls.Client(conn, r.tls())
		}
		s.conn = conn
		stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
		return conn, nil
	}
	var err error
	if s.client, err = mail.NewClient(r.host, r.options(connect)...); err != nil {
		return nil, fmt.Errorf("set up SMTP: %w", err)
	}
	s.smtp, err = s.client.DialToSMTPClientWithContext(ctx)
	stop()
	if err != nil {
		if s.conn != nil {
			_ = s.conn.Close() // the client leaves it open
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("connect to the relay: %w", err)
	}
	return s, nil
}

func (r *smtpRelay) options(connect mail.DialContextFunc) []mail.Option {
	// Behind implicit TLS nothing offers STARTTLS; the policy only makes the client notice that it is encrypted.
	policy := map[string]mail.TLSPolicy{env.TLSRequired: mail.TLSMandatory, env.TLSNone: mail.NoTLS}
	chosen, ok := policy[r.settings.TLS]
	if !ok {
		chosen = mail.TLSOpportunistic
	}
	options := []mail.Option{
		mail.WithPort(r.port), mail.WithTimeout(r.settings.Timeout), mail.WithDialContextFunc(connect),
		mail.WithTLSPolicy(chosen), mail.WithTLSConfig(r.tls()),
	}
	if r.settings.Username != "" {
		// The strongest that the relay has; one that shows the password only over TLS.
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover),
			mail.WithUsername(r.settings.Username), mail.WithPassword(string(r.settings.Password)))
	}
	return options
}

func (r *smtpRelay) tls() *tls.Config {
	return &tls.Config{ServerName: r.host, MinVersion: tls.VersionTLS12}
}

func isASCII(s string) bool {
	for _, c := range []byte(s) {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
