package reminder

import (
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/wneessen/go-mail"
)

// verdict is what a mail's failure says about its record.
type verdict int

const (
	// away: the relay can't be asked, or refuses whatever it is given. Nothing was said about the record.
	away verdict = iota
	// forNow: the relay doesn't take this mail now; see doubt for whose trouble that is.
	forNow
	// forGood: the relay takes no mail for this address, or not this mail, ever.
	forGood
	// unanswered: the relay got all of the mail and didn't say in time whether it took it.
	unanswered
)

// failure is why a mail wasn't taken. Its text is where that happened and the reply's codes, never the reply's own text,
// which often quotes the address.
type failure struct {
	verdict verdict
	stage   string // "RCPT", …
	reply   string // "550 5.1.1", "" where no reply came
	err     error  // what broke instead, nil where that isn't known
}

func (f *failure) Error() string {
	switch {
	case f.reply != "":
		return "the relay answers " + f.reply + " to " + f.stage
	case f.err != nil:
		return "the relay is lost at " + f.stage + ": " + f.err.Error()
	}
	return "the relay is lost at " + f.stage
}

func (f *failure) Unwrap() error { return f.err }

// stages are the commands that a mail goes through, for people.
var stages = map[mail.SendErrReason]string{
	mail.ErrSMTPMailFrom: "MAIL", mail.ErrSMTPRcptTo: "RCPT", mail.ErrSMTPData: "DATA", mail.ErrWriteContent: "the content",
	mail.ErrSMTPDataClose: "the content", mail.ErrConnCheck: "NOOP", mail.ErrSMTPReset: "RSET",
}

// refused returns the failure that an error of sending is.
func refused(err error) *failure {
	var s *mail.SendError
	if !errors.As(err, &s) {
		return &failure{stage: "sending", err: lost(err.Error())}
	}
	f := &failure{stage: stages[s.Reason]}
	if f.stage == "" {
		f.stage = "sending"
	}
	said, _, _ := strings.Cut(s.Error(), ", affected ")
	code := s.ErrorCode()
	if code == 0 {
		f.err = lost(said)
		if s.Reason == mail.ErrSMTPDataClose && errors.Is(f.err, os.ErrDeadlineExceeded) {
			f.verdict = unanswered
		}
		return f
	}
	f.reply = strings.TrimSpace(strconv.Itoa(code) + " " + s.EnhancedStatusCode())
	f.verdict = judge(s.Reason, code, s.EnhancedStatusCode(), strings.ToLower(said))
	return f
}

// lost is what broke, in words that the other side had no part in.
func lost(said string) error {
	for part, err := range map[string]error{
		"i/o timeout": os.ErrDeadlineExceeded, "EOF": io.ErrUnexpectedEOF, "closed": net.ErrClosed,
		"reset by peer": syscall.ECONNRESET, "broken pipe": syscall.EPIPE,
	} {
		if strings.Contains(said, part) {
			return err
		}
	}
	return nil
}

// relayDenied is how servers say that they don't relay for whoever asks. Their codes are those of an unknown address.
var relayDenied = regexp.MustCompile(`\brelay(ing)?( access)? (is )?(denied|not (permitted|allowed)|prohibited|forbidden)|(unable to|cannot|can't|not permitted to|not allowed to|not) relay\b`)

// judge decides what a reply says about the record. What it can't tell is the mail's own trouble.
func judge(at mail.SendErrReason, code int, enhanced, said string) verdict {
	_, kind, _ := strings.Cut(enhanced, ".")
	kind, _, _ = strings.Cut(kind, ".")
	switch {
	case at != mail.ErrSMTPRcptTo && at != mail.ErrSMTPData && at != mail.ErrSMTPDataClose:
		return away // MAIL is about us
	case code == 421 || code == 521 || code == 502 || code == 503:
		return away // the server itself, or commands that it doesn't have or want now
	case code == 530 || code == 534 || code == 535 || code == 538:
		return away // whom it wants to know first
	case at == mail.ErrSMTPRcptTo && relayDenied.MatchString(said):
		return forNow // it doesn't know us, or quotes a server behind it that doesn't know the address any more
	case code >= 500:
		return forGood
	case kind == "3":
		return away // its disks, its lookups
	}
	return forNow
}
