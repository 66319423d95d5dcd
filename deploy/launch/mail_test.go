package launch

import (
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMailsAreKeptAsFilesInTheirOrder(t *testing.T) {
	o := Options{Mail: true, Data: t.TempDir()}
	e := start(t, o)
	if e.MailDir != filepath.Join(o.Data, "mail") {
		t.Fatalf("mails are in %q", e.MailDir)
	}
	send := func(text string) {
		t.Helper()
		mail := "Subject: " + text + "\r\n\r\n" + text + "\r\n"
		if err := smtp.SendMail(e.Mail, nil, "shop@example.com", []string{"alice@example.com", "bob@example.com"}, []byte(mail)); err != nil {
			t.Fatal(err)
		}
	}
	send("one")
	send("two")
	e.Stop()
	e = start(t, o)
	send("three")
	kept, err := filepath.Glob(filepath.Join(e.MailDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, file := range kept {
		b, err := os.ReadFile(file)
		if err != nil || filepath.Ext(file) != ".eml" {
			t.Fatal(file, err)
		}
		subject, rest, _ := strings.Cut(string(b), "\r\n")
		if want := strings.TrimPrefix(subject, "Subject: "); strings.TrimSpace(rest) != want {
			t.Errorf("%s holds %q", file, b)
		}
		texts = append(texts, subject)
	}
	if got := strings.Join(texts, ", "); got != "Subject: one, Subject: two, Subject: three" {
		t.Errorf("kept %s", got)
	}
}
