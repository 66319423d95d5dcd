package reminder

import (
	"context"
	"net"
	netmail "net/mail"
	"time"

	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"
)

// session is a greeted, encrypted and authenticated connection, as far as the settings ask for it. It takes one mail
// between ready and release.
type session struct {
	relay   *smtpRelay
	conn    net.Conn
	smtp    *smtp.Client
	until   time.Time   // the attempt's end
	failed  bool        // then it isn't used again
	expires *time.Timer // while it is idle
}

// answers asks whether the relay is still there, until ctx ends. Where it isn't, the session is closed: relays end
// connections that have nothing to do.
func (s *session) answers(ctx context.Context) bool {
	stop := context.AfterFunc(ctx, func() { _ = s.conn.Close() })
	err := s.conn.SetDeadline(time.Time{}) // ctx has one
	if err == nil {
		err = s.smtp.Noop()
	}
	if stop() && err == nil {
		return true
	}
	_ = s.conn.Close()
	return false
}

// send returns nil once the relay took the mail. Any error is a *failure, or ctx's. The end of ctx ends it until the relay
// is asked for the content; from then on the user may get the mail, so the relay has answerMost more to say.
func (s *session) send(ctx context.Context, m *mail.Msg, address string) error {
	by := time.Now().Add(s.relay.settings.Timeout)
	if s.until.Before(by) {
		by = s.until
	}
	s.failed = true
	stop := context.AfterFunc(ctx, func() { _ = s.conn.Close() })
	f := s.envelope(by, m, address)
	if stop() && f == nil {
		stop = context.AfterFunc(ctx, func() {
			if soon := time.Now().Add(answerMost); soon.Before(by) {
				_ = s.conn.SetDeadline(soon)
			}
		})
		f = s.content(m)
		s.failed = !stop() || f != nil
		if f == nil {
			return nil
		}
	}
	if ctx.Err() != nil && (f == nil || f.reply == "" && f.verdict != unanswered) {
		return ctx.Err()
	}
	return f
}

// envelope tells the relay, until then, whom the mail is from and for.
func (s *session) envelope(by time.Time, m *mail.Msg, address string) *failure {
	// Whoever asks for SMTPUTF8 without need loses the mail at a server behind the relay that hasn't got it.
	s.smtp.SkipSMTPUTF8(isASCII(address))
	from, err := m.GetSender(false)
	if err == nil {
		err = s.conn.SetDeadline(by)
	}
	if err == nil {
		err = s.smtp.Mail(from)
	}
	if err != nil {
		return refused(atMail, err)
	}
	if err := s.smtp.Rcpt((&netmail.Address{Address: address}).String()); err != nil {
		return refused(atRcpt, err)
	}
	return nil
}

// content has the relay take the mail itself.
func (s *session) content(m *mail.Msg) *failure {
	w, err := s.smtp.Data()
	if err != nil {
		return refused(atData, err)
	}
	if _, err := m.WriteTo(w); err != nil {
		return refused(atContent, err)
	}
	if err := w.Close(); err != nil {
		return refused(atEnd, err)
	}
	return nil
}

// release keeps the session for the next mail, or closes it where anything failed on it.
func (s *session) release() {
	if s.failed {
		_ = s.conn.Close()
		return
	}
	s.expires = time.AfterFunc(idleFor, func() { _ = s.conn.Close() })
	select {
	case s.relay.idle <- s:
	default:
		s.expires.Stop()
		_ = s.conn.Close()
	}
}

func isASCII(s string) bool {
	for _, c := range []byte(s) {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
