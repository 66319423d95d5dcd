package reminder

import (
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"testing"
)

func TestWhatAReplySaysAboutARecord(t *testing.T) {
	for claim, c := range map[string]struct {
		at       stage
		code     int
		enhanced string
		said     string
		want     verdict
	}{
		"the address is unknown":                         {atRcpt, 550, "5.1.1", "user unknown", forGood},
		"the same, of a server without enhanced codes":   {atRcpt, 550, "", "user unknown", forGood},
		"a domain that has relay in its name":            {atRcpt, 550, "5.1.1", "mx.relay.example: no such user", forGood},
		"the mail is refused":                            {atEnd, 552, "5.3.4", "too big", forGood},
		"the domain doesn't exist, or its DNS is away":   {atRcpt, 450, "4.1.2", "domain not found", forNow},
		"the mailbox is full":                            {atRcpt, 452, "4.2.2", "mailbox full", forNow},
		"the mailbox is busy, without enhanced codes":    {atRcpt, 450, "", "mailbox busy", forNow},
		"the relay is full":                              {atRcpt, 452, "4.3.1", "insufficient storage", away},
		"something, without enhanced codes":              {atRcpt, 451, "", "try again later", forNow},
		"a greylist, or a policy about how much we send": {atRcpt, 450, "4.7.1", "come back later", forNow},
		"the same once the mail was seen":                {atEnd, 451, "4.7.1", "greylisted", forNow},
		"a server behind it doesn't answer":              {atRcpt, 450, "4.4.1", "no route to host", forNow},
		"the mail isn't taken now":                       {atData, 450, "", "later", forNow},
		"the relay can't keep a mail":                    {atEnd, 451, "4.3.0", "queue file write error", away},
		"the relay goes away":                            {atEnd, 421, "4.1.1", "bye", away},
		"the relay wants a password":                     {atRcpt, 530, "5.7.0", "authenticate", away},
		"the relay doesn't relay for us: Postfix":        {atRcpt, 554, "5.7.1", "<x>: relay access denied", forNow},
		"the relay doesn't relay for us: Sendmail":       {atRcpt, 550, "5.7.1", "<x>... relaying denied", forNow},
		"the relay doesn't relay for us: Exim":           {atRcpt, 550, "", "relay not permitted", forNow},
		"the relay doesn't relay for us: Exchange":       {atRcpt, 550, "5.7.54", "smtp; unable to relay recipient in non-accepted domain", forNow},
		"the relay doesn't take mails of ours":           {atMail, 550, "5.1.8", "sender rejected", away},
	} {
		t.Run(claim, func(t *testing.T) {
			if got := judge(c.at, c.code, c.enhanced, c.said); got != c.want {
				t.Errorf("verdict %d, want %d", got, c.want)
			}
		})
	}
}

func TestWhatSilenceSaysAboutARecord(t *testing.T) {
	secret := errors.New("<hidden@private.example>")
	for claim, c := range map[string]struct {
		at   stage
		err  error
		want verdict
		told string
	}{
		"lost at MAIL, which is the same for everybody": {atMail, io.EOF, away, "the relay is lost at MAIL: EOF"},
		"lost at RCPT":                                   {atRcpt, io.EOF, broke, "the relay is lost at RCPT: EOF"},
		"lost at DATA":                                   {atData, secret, broke, "the relay is lost at DATA"},
		"lost before the end of the mail":                {atContent, fmt.Errorf("%w: %w", secret, io.EOF), broke, "the relay is lost at the content: EOF"},
		"lost at its end":                                {atEnd, io.EOF, unanswered, "the relay is lost at the content's end: EOF"},
		"what is no reply, at its end":                   {atEnd, textproto.ProtocolError(secret.Error()), unanswered, "the relay is lost at the content's end"},
		"a reply that goes with another command":         {atEnd, &textproto.Error{Code: 354, Msg: "go ahead"}, unanswered, "the relay is lost at the content's end"},
		"a reply, told by its codes":                     {atEnd, &textproto.Error{Code: 552, Msg: "5.3.4 " + secret.Error()}, forGood, "the relay answers 552 5.3.4 to the content's end"},
		"a reply that begins with an address of another": {atRcpt, &textproto.Error{Code: 450, Msg: "4.3.2.1 is listed"}, forNow, "the relay answers 450 to RCPT"},
	} {
		t.Run(claim, func(t *testing.T) {
			if got := refused(c.at, c.err); got.verdict != c.want || got.Error() != c.told {
				t.Errorf("verdict %d, told as %q", got.verdict, got)
			}
		})
	}
}
