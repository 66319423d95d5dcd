package reminder_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// relay is an SMTP server that does as a test says and keeps what it took.
type relay struct {
	addr string
	done chan struct{} // closed at the end of the test

	mu    sync.Mutex
	mails []taken
	rules rules
	// What was seen.
	connections, tries int
	users              []string
	encrypted          bool
	conns              []net.Conn
}

// rules are what a relay does other than take every mail. Each may be nil.
type rules struct {
	hello func() error
	from  func() error
	rcpt  func(to string) error
	// cut ends the connection at RCPT.
	cut func(to string) bool
	// data is called when the mail was read; drop and stall then end the connection, or never answer.
	data  func(to string) error
	raw   func(mail string) // sees all of it
	drop  func(to string) bool
	stall func(to string) bool
	// hangUp ends the connection as soon as a mail was taken and that was said.
	hangUp bool
}

// taken is a mail and who it was for.
type taken struct {
	from, to string
	utf8     bool
	*mail.Message
}

func newRelay(t *testing.T, r rules, changes ...func(*smtp.Server)) *relay {
	t.Helper()
	relay := &relay{done: make(chan struct{}), rules: r}
	server := smtp.NewServer(relay)
	server.Domain = "relay.example"
	server.ErrorLog = log.New(io.Discard, "", 0)
	for _, change := range changes {
		change(server)
	}
	listener := listen(t)
	relay.addr = listener.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		close(relay.done)
		_ = server.Close()
		serving.Wait()
	})
	return relay
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// now lets the relay do otherwise from now on.
func (r *relay) now(to rules) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rules = to
}

func (r *relay) rule() rules {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rules
}

// took returns the mails, in the order in which they came.
func (r *relay) took() []taken {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]taken(nil), r.mails...)
}

func (r *relay) opened() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.connections
}

// cut ends all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
}

func (r *relay) tried() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries
}

// NewSession is called at EHLO, and again when the connection was encrypted.
func (r *relay) NewSession(c *smtp.Conn) (smtp.Session, error) {
	if hello := r.rule().hello; hello != nil {
		if err := hello(); err != nil {
			return nil, err
		}
	}
	_, encrypted := c.TLSConnectionState()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connections++
	r.conns = append(r.conns, c.Conn())
	r.encrypted = encrypted
	return &session{relay: r, conn: c}, nil
}

type session struct {
	relay    *relay
	conn     *smtp.Conn
	took     bool
	from, to string
	utf8     bool
}

// Reset is called after each mail, once its answer is written.
func (s *session) Reset() {
	if s.took && s.relay.rule().hangUp {
		_ = s.conn.Conn().Close()
	}
	s.from, s.to = "", ""
}

func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, o *smtp.MailOptions) error {
	s.relay.mu.Lock()
	s.relay.tries++
	s.relay.mu.Unlock()
	s.from, s.utf8 = from, o != nil && o.UTF8
	if f := s.relay.rule().from; f != nil {
		return f()
	}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	rule := s.relay.rule()
	if rule.cut != nil && rule.cut(to) {
		return s.hangUp()
	}
	if rule.rcpt != nil {
		return rule.rcpt(to)
	}
	return nil
}

func (s *session) Data(r io.Reader) error {
	rule := s.relay.rule()
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if rule.raw != nil {
		rule.raw(string(raw))
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		return err
	}
	m.Body = strings.NewReader(string(body))
	if rule.drop != nil && rule.drop(s.to) {
		return s.hangUp()
	}
	if rule.stall != nil && rule.stall(s.to) {
		<-s.relay.done
		return errors.New("the end")
	}
	if rule.data != nil {
		if err := rule.data(s.to); err != nil {
			return err
		}
	}
	s.relay.mu.Lock()
	defer s.relay.mu.Unlock()
	s.took = true
	s.relay.mails = append(s.relay.mails, taken{s.from, s.to, s.utf8, m})
	return nil
}

func (s *session) hangUp() error {
	_ = s.conn.Conn().Close()
	return errors.New("dropped")
}

// AuthMechanisms and Auth make every session one that knows the user "shop" with the password "s3cret".
func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		s.relay.mu.Lock()
		defer s.relay.mu.Unlock()
		s.relay.users = append(s.relay.users, user)
		if user != "shop" || password != "s3cret" {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

// says is a reply that quotes the address, as many servers do.
func says(code int, enhanced smtp.EnhancedCode, text string) func(string) error {
	return func(to string) error {
		return &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: "<" + to + ">: " + text + ", not even for hidden@private.example"}
	}
}

// certificate of 127.0.0.1, which the whole test binary trusts.
var certificate tls.Certificate

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "reminder-")
	if err == nil {
		certificate, err = selfSigned(filepath.Join(dir, "roots.pem"))
	}
	if err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// selfSigned makes the system's roots those of the file, before anybody reads them.
func selfSigned(file string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "relay"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, os.Setenv("SSL_CERT_FILE", file)
}

func offersTLS(s *smtp.Server) {
	s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
}

func tlsListener(l net.Listener) net.Listener {
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
}
