package dlq

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// tokenFor is how long a token is valid that the command made for itself.
	tokenFor = 5 * time.Minute
	// patience is how long an answer is waited for, but for a replay of many, which takes as long as it takes.
	patience = time.Minute
	// maxAnswer bounds what is read of one: a letter of 5 MiB in base64, and its headers.
	maxAnswer = 32 << 20
)

// client calls the ops API.
type client struct {
	base  string
	token string
}

func newClient(s settings) (*client, error) {
	base, err := baseURL(s)
	if err != nil {
		return nil, err
	}
	c := &client{base: base, token: string(s.Token)}
	switch {
	case c.token != "":
	case s.Secret == "":
		return nil, usage("OPS_TOKEN and JWT_SECRET are both unset: one of them is needed")
	default:
		if c.token, err = mint(s, time.Now()); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// baseURL is OPS_URL, or that of OPS_ADDR seen from this machine.
func baseURL(s settings) (string, error) {
	if s.URL != "" {
		u, err := url.Parse(s.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return "", usage("OPS_URL must be as in http://10.0.0.7:8090")
		}
		return strings.TrimSuffix(s.URL, "/"), nil
	}
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return "", usage("OPS_ADDR must be host:port or :port")
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

// mint makes a token for whoever runs the command: the audit trail names them.
func mint(s settings, now time.Time) (string, error) {
	claims := jwt.MapClaims{
		"sub": operator(), "role": "admin", "iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(tokenFor).Unix(),
	}
	if s.Issuer != "" {
		claims["iss"] = s.Issuer
	}
	if s.Audience != "" {
		claims["aud"] = s.Audience
	}
	raw, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(s.Secret))
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	return raw, nil
}

// operator is dlq:user@host, as far as ids allow.
func operator() string {
	name, host := "operator", "unknown"
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil && h != "" {
		host = h
	}
	id := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("._:@-", r):
			return r
		}
		return '_'
	}, "dlq:"+name+"@"+host)
	return id[:min(len(id), 64)]
}

// do makes a call and returns the answer's body; into, where set, is filled from it. An error says what the API said.
func (c *client) do(ctx context.Context, method, path string, body, into any) ([]byte, error) {
	var sent io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode the call: %w", err)
		}
		sent = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, sent)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.base, err)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, fmt.Errorf("the consumers at %s don't answer (OPS_URL or OPS_ADDR says where they are): %w", c.base, err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", c.base, err)
	}
	if response.StatusCode >= 300 {
		return nil, refusal(response.StatusCode, answer)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			return nil, fmt.Errorf("%s answered what no consumers answers: %w", c.base, err)
		}
	}
	return answer, nil
}

// refusal is what a problem says.
func refusal(status int, answer []byte) error {
	var p struct {
		Title, Detail string
		Errors        []struct{ Field, Message string }
	}
	if json.Unmarshal(answer, &p) != nil || p.Title == "" {
		return fmt.Errorf("refused with %d", status)
	}
	text := printable(fmt.Sprintf("%s (%d): %s", p.Title, status, p.Detail))
	for _, fault := range p.Errors {
		text += "\n  " + printable(fault.Field+" "+fault.Message)
	}
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		text += "\n  OPS_TOKEN, or the JWT_SECRET, JWT_ISSUER and JWT_AUDIENCE of this shell, must be those of the service"
	}
	return errors.New(text)
}
