package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"cartstream/schemas"
)

const (
	// askFor bounds one request for the keys; refreshEvery is how long they are used before they are read again.
	askFor       = 3 * time.Second
	refreshEvery = 10 * time.Minute
	// After a failure nobody asks again for so long: calls meanwhile fail at once instead of queueing.
	pause = time.Second
)

// keySet is the issuer's keys, read when first needed and kept up to date from then on. Once read, they are used
// however long the issuer is away.
type keySet struct {
	url     string
	log     *slog.Logger
	reading singleflight.Group

	mu     sync.Mutex
	keys   keyfunc.Keyfunc
	stop   context.CancelFunc
	failed time.Time
	closed bool
}

// find returns the key that the token names by its id, or all keys where it names none. A key of another kind than the
// token's algorithm is never among them: an RSA key can't be taken for the secret of an HMAC.
func (s *keySet) find(ctx context.Context, t *jwt.Token) (any, error) {
	keys, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	found, err := keys.KeyfuncCtx(ctx)(t)
	if err != nil {
		return nil, fmt.Errorf("find key: %w", err)
	}
	all, many := found.(jwt.VerificationKeySet)
	if !many {
		all.Keys = []jwt.VerificationKey{found}
	}
	var fit jwt.VerificationKeySet
	for _, key := range all.Keys {
		if fits(t.Method.Alg(), key) {
			fit.Keys = append(fit.Keys, key)
		}
	}
	if len(fit.Keys) == 0 {
		return nil, errors.New("no key for this algorithm")
	}
	return fit, nil
}

// fits reports whether the algorithm is one that this kind of key is for.
func fits(alg string, key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		return map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[k.Curve.Params().BitSize] == alg
	case ed25519.PublicKey:
		return alg == "EdDSA"
	case []byte: // a symmetric key ("oct") of the issuer
		return strings.HasPrefix(alg, "HS")
	}
	return false
}

// read returns the keys, from the issuer where that was never done. Whoever comes while they are being read waits for
// the same answer.
func (s *keySet) read(ctx context.Context) (keyfunc.Keyfunc, error) {
	s.mu.Lock()
	keys, failed := s.keys, s.failed
	s.mu.Unlock()
	if keys != nil {
		return keys, nil
	}
	if time.Since(failed) < pause {
		return nil, fmt.Errorf("read keys: %w: asked a moment ago, in vain", schemas.ErrUnavailable)
	}
	select {
	case r := <-s.reading.DoChan("", func() (any, error) { return nil, s.fetch() }):
		if r.Err != nil {
			return nil, fmt.Errorf("read keys: %w: %w", schemas.ErrUnavailable, r.Err)
		}
	case <-ctx.Done():
		return nil, fmt.Errorf("read keys: %w: %w", schemas.ErrUnavailable, ctx.Err())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		return nil, fmt.Errorf("read keys: %w: closed", schemas.ErrUnavailable)
	}
	return s.keys, nil
}

// fetch reads the keys for the first time. They are read again every so often, and when a token names an unknown one,
// but then once a second at most.
func (s *keySet) fetch() error {
	ctx, stop := context.WithCancel(context.Background())
	strict := false
	keys, err := keyfunc.NewDefaultOverrideCtx(ctx, []string{s.url}, keyfunc.Override{
		HTTPTimeout:               askFor,
		NoErrorReturnFirstHTTPReq: &strict,
		RateLimitWaitMax:          time.Second,
		RefreshErrorHandlerFunc: func(string) func(context.Context, error) {
			return func(ctx context.Context, err error) {
				s.log.WarnContext(ctx, "issuer's keys not refreshed, the ones known stay in use", "error", err)
			}
		},
		RefreshInterval:   refreshEvery,
		RefreshUnknownKID: rate.NewLimiter(rate.Every(time.Second), 1),
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		stop()
		s.failed = time.Now()
		s.log.Warn("issuer's keys not read", "error", err)
		return err
	}
	if s.closed {
		stop()
		return nil
	}
	s.keys, s.stop = keys, stop
	return nil
}

func (s *keySet) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.stop != nil {
		s.stop()
		s.keys, s.stop = nil, nil
	}
}
