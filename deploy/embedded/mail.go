package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"
)

// mailLimit is the size of the largest mail that is taken.
const mailLimit = 10 << 20

// mailbox is an SMTP server that takes every mail, sends none on and keeps each as an .eml file.
type mailbox struct {
	dir  string
	last atomic.Int64
}

// startMail keeps mails in the data directory's mail folder, whose files are named by the time at which they came.
func startMail(cfg config, died chan<- error) (addr, dir string, stop func(), err error) {
	box := &mailbox{dir: filepath.Join(cfg.data, "mail")}
	if err := os.MkdirAll(box.dir, 0o700); err != nil {
		return "", "", nil, err
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(cfg.mailPort))) //nolint:noctx // binds a local port, never blocks
	if err != nil {
		return "", "", nil, err
	}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return delivery{box}, nil }))
	server.Domain = "localhost"
	server.EnableSMTPUTF8 = true
	server.MaxMessageBytes = mailLimit
	server.ReadTimeout, server.WriteTimeout = time.Minute, time.Minute
	go func() {
		if err := server.Serve(l); err != nil {
			died <- fmt.Errorf("mail: %w", err)
		}
	}()
	return l.Addr().String(), box.dir, func() { _ = server.Close() }, nil
}

// delivery takes one mail after the other, whoever they are from and for.
type delivery struct{ box *mailbox }

func (delivery) Reset()                               {}
func (delivery) Logout() error                        { return nil }
func (delivery) Mail(string, *smtp.MailOptions) error { return nil }
func (delivery) Rcpt(string, *smtp.RcptOptions) error { return nil }

// Data returns once the file is there, whole.
func (d delivery) Data(r io.Reader) error {
	f, err := os.CreateTemp(d.box.dir, ".part-")
	if err != nil {
		return fmt.Errorf("keep a mail: %w", err)
	}
	_, err = io.Copy(f, r)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(d.box.dir, d.box.name()))
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("keep a mail: %w", err)
	}
	return nil
}

// name is later, in the order of names, for each mail, and no file's yet.
func (b *mailbox) name() string {
	for {
		last := b.last.Load()
		at := max(time.Now().UnixMilli(), last+1)
		if b.last.CompareAndSwap(last, at) {
			return time.UnixMilli(at).UTC().Format("20060102T150405.000Z") + ".eml"
		}
	}
}
