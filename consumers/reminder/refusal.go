package reminder

import (
	"errors"
	"io"
	"net"
	"net/textproto"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
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
	// unanswered: the relay got all of the mail, or may have, and didn't say whether it took it.
	unanswered
	// broke: the relay, which answered right before, was lost with this mail under way, and hasn't got all of it.
	broke
)

// failure is why a mail wasn't taken. Its text is where that happened and the reply's codes, never the reply's own text,
// which often quotes the address.
type failure struct {
	verdict verdict
	stage   stage
	reply   string // "550 5.1.1", "" where no reply came
	err     error  // what broke instead, nil where that isn't known
}

func (f *failure) Error() string {
	switch {
	case f.reply != "":
		return "the relay answers " + f.reply + " to " + string(f.stage)
	case f.err != nil:
		return "the relay is lost at " + string(f.stage) + ": " + f.err.Error()
	}
	return "the relay is lost at " + string(f.stage)
}

func (f *failure) Unwrap() error { return f.err }

// stage is what was under way, for people.
type stage string

const (
	atMail    stage = "MAIL"
	atRcpt    stage = "RCPT"
	atData    stage = "DATA"
	atContent stage = "the content"
	atEnd     stage = "the content's end"
)

// enhanced is an enhanced status code, as RFC 2034 has a reply's text begin.
var enhanced = regexp.MustCompile(`^[245]\.\d{1,3}\.\d{1,3}(\s|$)`)

// refused returns the failure that an error is at that stage.
func refused(at stage, err error) *failure {
	var reply *textproto.Error
	if !errors.As(err, &reply) || reply.Code < 400 {
		return &failure{verdict: unheard(at), stage: at, err: lost(err)}
	}
	code := strings.TrimSpace(enhanced.FindString(reply.Msg))
	return &failure{
		verdict: judge(at, reply.Code, code, strings.ToLower(reply.Msg)), stage: at,
		reply: strings.TrimSpace(strconv.Itoa(reply.Code) + " " + code),
	}
}

// unheard is what it says of the record that no reply came, in time or at all.
func unheard(at stage) verdict {
	switch at {
	case atMail:
		return away // which is the same for every mail
	case atEnd:
		return unanswered
	case atRcpt, atData, atContent:
	}
	return broke
}

// lost is what broke, in words that the other side had no part in.
func lost(err error) error {
	for _, known := range []error{os.ErrDeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, known) {
			return known
		}
	}
	return nil
}

// relayDenied is how servers say that they don't relay for whoever asks. Their codes are those of an unknown address.
var relayDenied = regexp.MustCompile(`\brelay(ing)?( access)? (is )?(denied|not (permitted|allowed)|prohibited|forbidden)|(unable to|cannot|can't|not permitted to|not allowed to|not) relay\b`)

// judge decides what a reply says about the record. What it can't tell is the mail's own trouble.
func judge(at stage, code int, enhanced, said string) verdict {
	_, kind, _ := strings.Cut(enhanced, ".")
	kind, _, _ = strings.Cut(kind, ".")
	switch {
	case at == atMail:
		return away // it is about us
	case code == 421 || code == 521 || code == 502 || code == 503:
		return away // the server itself, or commands that it doesn't have or want now
	case code == 530 || code == 534 || code == 535 || code == 538:
		return away // whom it wants to know first
	case at == atRcpt && relayDenied.MatchString(said):
		return forNow // it doesn't know us, or quotes a server behind it that doesn't know the address any more
	case code >= 500:
		return forGood
	case kind == "3":
		return away // its disks, its lookups
	}
	return forNow
}
