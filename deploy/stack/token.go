package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// tokenLife is how long a printed token is valid: long enough for a day of trying things out.
const tokenLife = 24 * time.Hour

var userID = regexp.MustCompile(`^[A-Za-z0-9._:@-]{1,64}$`)

// token prints a token and nothing else to out, so that $(task token -- alice) is one.
func (s *stack) token(user, role string) error {
	env, err := s.client()
	if err != nil {
		return err
	}
	token, err := sign(env, user, role)
	if err != nil {
		return err
	}
	s.say("a token for %s, valid for 24 hours:", user)
	_, err = fmt.Fprintln(s.out, token)
	return err
}

// sign makes a token that a stack with env accepts. The role "" means customer.
func sign(env map[string]string, user, role string) (string, error) {
	if !userID.MatchString(user) {
		return "", fmt.Errorf("%q can't be a user: 1 to 64 of A-Z a-z 0-9 . _ : @ -", user)
	}
	switch role {
	case "":
		role = "customer"
	case "customer", "admin":
	default:
		return "", fmt.Errorf("%q is no role: customer or admin", role)
	}
	if env["JWT_SECRET"] == "" {
		return "", errors.New("tokens are signed by the keys of JWT_JWKS_URL here: set JWT_SECRET to make one")
	}
	now := time.Now()
	claims := jwt.MapClaims{"sub": user, "role": role, "iat": now.Unix(), "exp": now.Add(tokenLife).Unix()}
	if email := emailOf(user); email != "" {
		claims["email"] = email
	}
	if iss := env["JWT_ISSUER"]; iss != "" {
		claims["iss"] = iss
	}
	if aud := env["JWT_AUDIENCE"]; aud != "" {
		claims["aud"] = aud
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(env["JWT_SECRET"]))
	if err != nil {
		return "", fmt.Errorf("sign a token for %s: %w", user, err)
	}
	return token, nil
}

// secret returns the checkout's own JWT secret, made when it is first asked for, for use on this machine only.
func (s *stack) secret() (string, error) {
	// Linked into place complete, so that two commands at once end up with the same one.
	secret := rand.Text() + rand.Text()
	f, err := os.CreateTemp(s.dir, "secret-")
	if err != nil {
		return "", fmt.Errorf("keep a JWT secret: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(secret + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("keep a JWT secret: %w", err)
	}
	err = os.Link(f.Name(), s.path("secret"))
	if errors.Is(err, os.ErrExist) {
		return s.keptSecret()
	}
	if err != nil {
		return "", fmt.Errorf("keep a JWT secret: %w", err)
	}
	return secret, nil
}

func (s *stack) keptSecret() (string, error) {
	b, err := os.ReadFile(s.path("secret"))
	if err != nil {
		return "", fmt.Errorf("read the kept JWT secret: %w", err)
	}
	secret := strings.TrimSpace(string(b))
	if len(secret) < 32 {
		return "", fmt.Errorf("the kept JWT secret is damaged: delete %s and run task up again", s.path("secret"))
	}
	return secret, nil
}
