package reminder_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/prometheus/client_golang/prometheus"

	"cartstream/api/cart"
	"cartstream/consumers/runner"
	"cartstream/schemas/env"
)

func always(string) bool { return true }

// quickly is for relays that never answer, however long they have.
func quickly(m *env.Mail) { m.Timeout = 50 * time.Millisecond }

func TestARelayInTroubleIsWaitedFor(t *testing.T) {
	quota := func() error { return &smtp.SMTPError{Code: 452, Message: "out of disk"} }
	for claim, c := range map[string]struct {
		rules   rules
		changes []func(*env.Mail)
	}{
		"it isn't ready at EHLO":               {rules: rules{hello: func() error { return &smtp.SMTPError{Code: 421, Message: "too busy"} }}},
		"it doesn't want us at EHLO":           {rules: rules{hello: func() error { return &smtp.SMTPError{Code: 554, Message: "go away"} }}},
		"it wants to know us first":            {rules: rules{from: func() error { return &smtp.SMTPError{Code: 530, Message: "authenticate"} }}},
		"it doesn't take mails of this sender": {rules: rules{from: func() error { return &smtp.SMTPError{Code: 553, Message: "not yours"} }}},
		"it has no room for a sender's":        {rules: rules{from: quota}},
		"it wants to know us at RCPT":          {rules: rules{rcpt: says(530, smtp.EnhancedCode{5, 7, 0}, "Authentication required")}},
		"it shuts down at RCPT":                {rules: rules{rcpt: says(421, smtp.EnhancedCode{4, 3, 2}, "shutting down")}},
		"it takes no mails at all":             {rules: rules{rcpt: says(521, smtp.EnhancedCode{5, 3, 2}, "no mail here")}},
		"it is out of resources":               {rules: rules{rcpt: says(451, smtp.EnhancedCode{4, 3, 0}, "queue file write error")}},
		"it can't keep a mail":                 {rules: rules{data: says(451, smtp.EnhancedCode{4, 3, 0}, "try later")}},
		"it has no TLS, which has to be":       {changes: []func(*env.Mail){func(m *env.Mail) { m.TLS = env.TLSRequired }}},
		"it speaks no TLS from the first byte": {changes: []func(*env.Mail){func(m *env.Mail) { m.TLS = env.TLSImplicit }, quickly}},
		"it has no TLS for a password": {changes: []func(*env.Mail){func(m *env.Mail) {
			m.Username, m.Password = "shop", "s3cret"
		}}},
	} {
		t.Run(claim, func(t *testing.T) {
			t.Parallel()
			b := setup(t, newRelay(t, c.rules), c.changes...)
			r := b.idle("u1", 7)
			var errs []error
			for range 3 {
				err := b.handle(t, r)
				again(t, err)
				errs = append(errs, err)
			}
			if n := len(b.relay.took()); n != 0 {
				t.Errorf("%d mails", n)
			}
			b.hides(t, errs...)
			if strings.Contains(errors.Join(errs...).Error(), "s3cret") {
				t.Errorf("the password is told: %v", errs)
			}
		})
	}
}

func TestARelayThatIsThereAgainGetsTheMail(t *testing.T) {
	for claim, broken := range map[string]rules{
		"after it dropped a connection":       {cut: always},
		"after it refused everybody":          {from: func() error { return &smtp.SMTPError{Code: 451, Message: "no"} }},
		"after it refused to say hello to us": {hello: func() error { return &smtp.SMTPError{Code: 554, Message: "no"} }},
	} {
		t.Run(claim, func(t *testing.T) {
			t.Parallel()
			b := setup(t, newRelay(t, broken))
			r := b.idle("u1", 7)
			again(t, b.handle(t, r))
			b.relay.now(rules{})
			must(t, b.handle(t, r))
			if n := len(b.relay.took()); n != 1 {
				t.Errorf("%d mails", n)
			}
		})
	}
}

func TestNobodyThereIsWaitedFor(t *testing.T) {
	for claim, serve := range map[string]func(net.Conn){
		"a port that nobody listens on":       nil,
		"a server that never says a word":     func(c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		"a greeting that refuses us":          func(c net.Conn) { _, _ = io.WriteString(c, "554 5.7.1 you are listed\r\n"); _ = c.Close() },
		"a greeting that is none":             func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); _ = c.Close() },
		"a connection that is closed at once": func(c net.Conn) { _ = c.Close() },
	} {
		t.Run(claim, func(t *testing.T) {
			t.Parallel()
			l := listen(t)
			var conns sync.WaitGroup
			if serve == nil {
				must(t, l.Close())
			} else {
				conns.Go(func() {
					for {
						conn, err := l.Accept()
						if err != nil {
							return
						}
						conns.Go(func() { serve(conn) })
					}
				})
				t.Cleanup(func() { _ = l.Close(); conns.Wait() })
			}
			b := setup(t, &relay{addr: l.Addr().String()}, quickly)
			err := b.handle(t, b.idle("u1", 7))
			again(t, err)
			b.hides(t, err)
		})
	}
}

func TestAnAddressThatIsRefusedIsGivenUp(t *testing.T) {
	for claim, c := range map[string]struct {
		rules rules
		email string
		tells string
	}{
		"unknown":                       {rules{rcpt: says(550, smtp.EnhancedCode{5, 1, 1}, "User unknown")}, "", "550 5.1.1 to RCPT"},
		"of a mailbox that is closed":   {rules{rcpt: says(551, smtp.EnhancedCode{5, 2, 1}, "moved to relay@private.example")}, "", "551 5.2.1 to RCPT"},
		"of no form":                    {rules{rcpt: says(501, smtp.EnhancedCode{5, 1, 3}, "bad address")}, "", "501 5.1.3 to RCPT"},
		"of a domain that relays no":    {rules{rcpt: says(550, smtp.EnhancedCode{5, 1, 2}, "no such domain, says relay.example")}, "", "550 5.1.2 to RCPT"},
		"or the mail itself":            {rules{data: says(554, smtp.EnhancedCode{5, 6, 0}, "looks like spam")}, "", "554 5.6.0 to the content's end"},
		"or it never could have been":   {rules{}, "hidden at example", "can't be one"},
		"or it has a name besides":      {rules{}, "hidden <hidden@a.example>", "can't be one"},
		"or it would be several":        {rules{}, "hidden@a.example, hidden@b.example", "can't be one"},
		"or it would be another header": {rules{}, "hidden@a.example\r\nBcc: hidden@b.example", "can't be one"},
	} {
		t.Run(claim, func(t *testing.T) {
			t.Parallel()
			b := setup(t, newRelay(t, c.rules))
			r := b.idle("u1", 7)
			if c.email != "" {
				b.carts.change("u1", func(to *cart.Contact) { to.Email = c.email })
			}
			err := b.handle(t, r)
			if !runner.IsPermanent(err) || !strings.Contains(err.Error(), c.tells) {
				t.Fatalf("got %v, want it given up, and told as %q", err, c.tells)
			}
			b.hides(t, err)
		})
	}
}

func TestAConnectionIsUsedAgain(t *testing.T) {
	b := setup(t, newRelay(t, rules{}))
	for _, user := range []string{"u1", "u2", "u3"} {
		must(t, b.handle(t, b.idle(user, 7)))
	}
	if n := b.relay.opened(); n != 1 || len(b.relay.took()) != 3 {
		t.Errorf("%d mails over %d connections", len(b.relay.took()), n)
	}
	t.Run("but not when something failed on it", func(t *testing.T) {
		b.relay.now(rules{rcpt: says(550, smtp.EnhancedCode{5, 1, 1}, "unknown")})
		if err := b.handle(t, b.idle("u4", 7)); !runner.IsPermanent(err) {
			t.Fatal(err)
		}
		b.relay.now(rules{})
		must(t, b.handle(t, b.idle("u5", 7)))
		if n := b.relay.opened(); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

// What a relay took is sent, whatever becomes of the connection afterwards.
func TestARelayThatHangsUpAfterAMailHasTakenIt(t *testing.T) {
	b := setup(t, newRelay(t, rules{hangUp: true}))
	for _, user := range []string{"u1", "u2"} {
		must(t, b.handle(t, b.idle(user, 7)))
	}
	if n := len(b.relay.took()); n != 2 || b.outcomes(t, "sent") != 2 {
		t.Errorf("%d mails, %d are known to be sent", n, b.outcomes(t, "sent"))
	}
}

// Relays close connections that have nothing to do. That costs no mail, and no attempt.
func TestAConnectionThatTheRelayClosedIsReplaced(t *testing.T) {
	b := setup(t, newRelay(t, rules{}))
	for _, user := range []string{"u1", "u2", "u3"} {
		must(t, b.handle(t, b.idle(user, 7)))
		b.relay.cut()
	}
	if n := b.relay.opened(); n != 3 || len(b.relay.took()) != 3 {
		t.Errorf("%d mails over %d connections", len(b.relay.took()), n)
	}
}

func TestWhatIsEncryptedAndWhoWeAre(t *testing.T) {
	login := func(m *env.Mail) { m.Username, m.Password = "shop", "s3cret" }
	for claim, c := range map[string]struct {
		settings  []func(*env.Mail)
		encrypted bool
		users     []string
	}{
		"where it is offered, it is encrypted":      {nil, true, nil},
		"where it has to be, too":                   {[]func(*env.Mail){func(m *env.Mail) { m.TLS = env.TLSRequired }}, true, nil},
		"where it is turned off, it isn't":          {[]func(*env.Mail){func(m *env.Mail) { m.TLS = env.TLSNone }}, false, nil},
		"a user authenticates once it is encrypted": {[]func(*env.Mail){login}, true, []string{"shop"}},
	} {
		t.Run(claim, func(t *testing.T) {
			t.Parallel()
			b := setup(t, newRelay(t, rules{}, offersTLS), c.settings...)
			must(t, b.handle(t, b.idle("u1", 7)))
			if n := len(b.relay.took()); n != 1 || b.relay.encrypted != c.encrypted || !slices.Equal(b.relay.users, c.users) {
				t.Errorf("%d mails, encrypted: %v, users %v", n, b.relay.encrypted, b.relay.users)
			}
		})
	}
	t.Run("a password that is wrong is the relay's trouble, not the reminder's", func(t *testing.T) {
		b := setup(t, newRelay(t, rules{}, offersTLS), login, func(m *env.Mail) { m.Password = "hidden" })
		err := b.handle(t, b.idle("u1", 7))
		again(t, err)
		b.hides(t, err)
		if !strings.Contains(err.Error(), "535") {
			t.Errorf("nobody learns why: %v", err)
		}
	})
	t.Run("a certificate of another host is refused", func(t *testing.T) {
		b := setup(t, newRelay(t, rules{}, offersTLS), func(m *env.Mail) { m.Addr = strings.Replace(m.Addr, "127.0.0.1", "localhost", 1) })
		err := b.handle(t, b.idle("u1", 7))
		again(t, err)
		if len(b.relay.took()) != 0 || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%v", err)
		}
	})
}

func TestImplicitTLS(t *testing.T) {
	r := newRelay(t, rules{})
	// A front that speaks TLS from the first byte.
	front := listen(t)
	tlsFront := tlsListener(front)
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := tlsFront.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { pipe(t.Context(), conn, r.addr) })
		}
	})
	t.Cleanup(func() { _ = front.Close(); conns.Wait() })
	b := setup(t, r, func(m *env.Mail) { m.Addr, m.TLS = front.Addr().String(), env.TLSImplicit })
	must(t, b.handle(t, b.idle("u1", 7)))
	if n := len(r.took()); n != 1 {
		t.Errorf("%d mails", n)
	}
}

// pipe carries bytes between the connection and the address until ctx or either of them ends.
func pipe(ctx context.Context, conn net.Conn, addr string) {
	defer func() { _ = conn.Close() }()
	back, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return
	}
	defer func() { _ = back.Close() }()
	stop := context.AfterFunc(ctx, func() { _, _ = conn.Close(), back.Close() })
	defer stop()
	go func() { _, _ = io.Copy(back, conn); _ = back.Close() }()
	_, _ = io.Copy(conn, back)
}

func TestACallThatEndsBeforeTheMailSendsNone(t *testing.T) {
	b := setup(t, newRelay(t, rules{}))
	ctx, cancel := context.WithCancel(t.Context())
	b.relay.now(rules{rcpt: func(string) error { cancel(); return nil }})
	if err := b.mailer.Handle(ctx, batch(b.idle("u1", 7))); !errors.Is(err, context.Canceled) || len(b.relay.took()) != 0 {
		t.Fatal(err)
	}
}

// Its partition goes to another process, which must not send what the relay has.
func TestACallThatEndsDuringTheMailKeepsWhatBecameOfIt(t *testing.T) {
	for outcome, then := range map[string]rules{
		"sent":     {data: func(string) error { return nil }},
		"deferred": {stall: always},
	} {
		t.Run(outcome, func(t *testing.T) {
			t.Parallel()
			b := setup(t, newRelay(t, rules{}))
			var got atomic.Int32
			ctx, cancel := context.WithCancel(t.Context())
			then.raw = func(string) { got.Add(1); cancel() }
			b.relay.now(then)
			r := b.idle("u1", 7)
			must(t, b.mailer.Handle(ctx, batch(r)))
			must(t, b.another(t, prometheus.NewRegistry()).Handle(t.Context(), batch(r)))
			if n := got.Load(); n != 1 || b.outcomes(t, outcome) != 1 {
				t.Errorf("the relay got it %d times, %d counted", n, b.outcomes(t, outcome))
			}
		})
	}
}
