package reminder

import (
	"context"
	"errors"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"cartstream/schemas/env"
)

// sessionTo is a session with a relay that does as the test says when it gets that command, "." being the mail's end, and
// agrees to all others.
func sessionTo(t *testing.T, command string, does func(reply func(string))) *session {
	t.Helper()
	ours, theirs := net.Pipe()
	var serving sync.WaitGroup
	serving.Go(func() {
		conn := textproto.NewConn(theirs)
		reply := func(line string) { _ = conn.PrintfLine("%s", line) }
		reply("220 relay.example")
		for {
			line, err := conn.ReadLine()
			if err != nil {
				return
			}
			got, _, _ := strings.Cut(line, " ")
			switch {
			case got == command:
				does(reply)
			case got == "DATA":
				reply("354 go ahead")
			case got == "." || strings.ToUpper(got) == got && len(got) == 4:
				reply("250 2.0.0 ok")
			}
		}
	})
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close(); serving.Wait() })
	client, err := smtp.NewClient(ours, "relay.example")
	if err == nil {
		err = client.Hello("shop.example")
	}
	if err != nil {
		t.Fatal(err)
	}
	return &session{relay: &smtpRelay{settings: env.Mail{Timeout: 20 * time.Second}}, conn: ours, smtp: client, until: time.Now().Add(attemptMost)}
}

func aMail(t *testing.T) *mail.Msg {
	t.Helper()
	m := mail.NewMsg()
	if err := errors.Join(m.From("shop@example.com"), m.To("u1@example.com")); err != nil {
		t.Fatal(err)
	}
	m.SetBodyString(mail.TypeTextPlain, "Emma")
	return m
}

// Handle's ctx ends when its partition goes to another process, which is to know soon what became of the mail.
func TestAMailUnderWayWhenTheCallEnds(t *testing.T) {
	silence := func(func(string)) {}
	after := func(d time.Duration, line string) func(func(string)) {
		return func(reply func(string)) { time.Sleep(d); reply(line) }
	}
	isEnd := func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }
	is := func(want verdict) func(error) bool {
		return func(err error) bool {
			var f *failure
			return errors.As(err, &f) && f.verdict == want
		}
	}
	for claim, c := range map[string]struct {
		at    string
		relay func(reply func(string))
		want  func(error) bool
		took  time.Duration // since the end
	}{
		"is not sent where no address was given yet":          {"RCPT", silence, isEnd, 0},
		"is sent where the relay's yes is a second away":      {".", after(2*time.Second, "250 ok"), func(err error) bool { return err == nil }, time.Second},
		"is refused where that is what comes":                 {".", after(2*time.Second, "552 5.3.4 too big"), is(forGood), time.Second},
		"has no answer where none comes soon":                 {".", silence, is(unanswered), answerMost},
		"isn't sent where the relay doesn't want its content": {"DATA", silence, isEnd, answerMost},
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sessionTo(t, c.at, c.relay)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				err := s.send(ctx, aMail(t), "u1@example.com")
				if took := time.Since(began) - time.Second; !c.want(err) || took != c.took {
					t.Errorf("%v, %s after the end", err, took)
				}
			})
		})
	}
}

func TestAnAttemptIsBounded(t *testing.T) {
	for claim, c := range map[string]struct {
		passed time.Duration // before the mail
		took   time.Duration
	}{
		"by SMTP_TIMEOUT":                   {0, 20 * time.Second},
		"and with what came before, in all": {15 * time.Second, attemptMost - 15*time.Second},
	} {
		t.Run(claim, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := sessionTo(t, ".", func(func(string)) {})
				time.Sleep(c.passed)
				began := time.Now()
				err := s.send(t.Context(), aMail(t), "u1@example.com")
				var f *failure
				if took := time.Since(began); !errors.As(err, &f) || f.verdict != unanswered || took != c.took {
					t.Errorf("%v, after %s", err, took)
				}
			})
		})
	}
}

func TestWhatIsKeptOutlastsTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for claim, passed := range map[string]time.Duration{"when it ends meanwhile": 0, "when it ended before": time.Minute} {
			ctx, end := context.WithTimeout(t.Context(), time.Second)
			time.Sleep(passed)
			late, cancel := outlasting(ctx, keepMost)
			began := time.Now()
			<-late.Done()
			if took := time.Since(began); took != keepMost+max(0, time.Second-passed) {
				t.Errorf("%s: %s", claim, took)
			}
			cancel()
			end()
		}
	})
}
