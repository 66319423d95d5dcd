package reminder

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/wneessen/go-mail"

	"cartstream/schemas/env"
)

const (
	// idleFor is how long a connection without a mail is kept, idleMost how many are.
	idleFor  = 5 * time.Second
	idleMost = 4
	// greetMost bounds, besides SMTP_TIMEOUT, how long it takes until a relay is ready, attemptMost all of an attempt: a call of
	// Handle has 30 s.
	greetMost   = 15 * time.Second
	attemptMost = 25 * time.Second
)

// smtpRelay is a relay over SMTP. A connection takes one mail at a time and is used again; one on which anything failed
// is not.
type smtpRelay struct {
	settings env.Mail
	host     string
	port     int
	idle     chan *session
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

// ready returns a session on which the relay answered just now: an idle one, else a new one. Whoever gets it releases it.
func (r *smtpRelay) ready(ctx context.Context) (connection, error) {
	until := time.Now().Add(attemptMost)
	connecting, cancel := context.WithTimeout(ctx, min(r.settings.Timeout, greetMost))
	defer cancel()
	for s := r.unused(); s != nil; s = r.unused() {
		if s.answers(connecting) {
			s.until = until
			return s, nil
		}
	}
	s, err := r.dial(connecting)
	switch {
	case err == nil:
		s.until = until
		return s, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("connect to the relay: %w", err)
}

// unused returns a session that is idle, nil for none.
func (r *smtpRelay) unused() *session {
	for {
		select {
		case s := <-r.idle:
			if s.expires.Stop() {
				return s
			}
		default:
			return nil
		}
	}
}

// dial opens a session. Its failures are the relay's trouble, whatever it says: it has heard of no address yet.
func (r *smtpRelay) dial(ctx context.Context) (*session, error) {
	s := &session{relay: r}
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
	client, err := mail.NewClient(r.host, r.options(connect)...)
	if err != nil {
		return nil, err
	}
	s.smtp, err = client.DialToSMTPClientWithContext(ctx)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		if s.conn != nil {
			_ = s.conn.Close() // the client leaves it open
		}
		return nil, err
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
