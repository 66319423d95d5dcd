package reminder

import (
	"testing"

	"github.com/wneessen/go-mail"
)

func TestWhatAReplySaysAboutARecord(t *testing.T) {
	for claim, c := range map[string]struct {
		at       mail.SendErrReason
		code     int
		enhanced string
		said     string
		want     verdict
	}{
		"the address is unknown":                         {mail.ErrSMTPRcptTo, 550, "5.1.1", "user unknown", forGood},
		"the same, of a server without enhanced codes":   {mail.ErrSMTPRcptTo, 550, "", "user unknown", forGood},
		"a domain that has relay in its name":            {mail.ErrSMTPRcptTo, 550, "5.1.1", "mx.relay.example: no such user", forGood},
		"the mail is refused":                            {mail.ErrSMTPDataClose, 552, "5.3.4", "too big", forGood},
		"the domain doesn't exist, or its DNS is away":   {mail.ErrSMTPRcptTo, 450, "4.1.2", "domain not found", forNow},
		"the mailbox is full":                            {mail.ErrSMTPRcptTo, 452, "4.2.2", "mailbox full", forNow},
		"the mailbox is busy, without enhanced codes":    {mail.ErrSMTPRcptTo, 450, "", "mailbox busy", forNow},
		"the relay is full":                              {mail.ErrSMTPRcptTo, 452, "4.3.1", "insufficient storage", away},
		"something, without enhanced codes":              {mail.ErrSMTPRcptTo, 451, "", "try again later", forNow},
		"a greylist, or a policy about how much we send": {mail.ErrSMTPRcptTo, 450, "4.7.1", "come back later", forNow},
		"the same once the mail was seen":                {mail.ErrSMTPDataClose, 451, "4.7.1", "greylisted", forNow},
		"a server behind it doesn't answer":              {mail.ErrSMTPRcptTo, 450, "4.4.1", "no route to host", forNow},
		"the mail isn't taken now":                       {mail.ErrSMTPData, 450, "", "later", forNow},
		"the relay can't keep a mail":                    {mail.ErrSMTPDataClose, 451, "4.3.0", "queue file write error", away},
		"the relay goes away":                            {mail.ErrSMTPDataClose, 421, "4.1.1", "bye", away},
		"the relay wants a password":                     {mail.ErrSMTPRcptTo, 530, "5.7.0", "authenticate", away},
		"the relay doesn't relay for us: Postfix":        {mail.ErrSMTPRcptTo, 554, "5.7.1", "<x>: relay access denied", forNow},
		"the relay doesn't relay for us: Sendmail":       {mail.ErrSMTPRcptTo, 550, "5.7.1", "<x>... relaying denied", forNow},
		"the relay doesn't relay for us: Exim":           {mail.ErrSMTPRcptTo, 550, "", "relay not permitted", forNow},
		"the relay doesn't relay for us: Exchange":       {mail.ErrSMTPRcptTo, 550, "5.7.54", "smtp; unable to relay recipient in non-accepted domain", forNow},
		"the relay doesn't take mails of ours":           {mail.ErrSMTPMailFrom, 550, "5.1.8", "sender rejected", away},
	} {
		t.Run(claim, func(t *testing.T) {
			if got := judge(c.at, c.code, c.enhanced, c.said); got != c.want {
				t.Errorf("verdict %d, want %d", got, c.want)
			}
		})
	}
}
