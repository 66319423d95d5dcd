package deadletter_test

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// picky is a consumer that accepts what its rule doesn't refuse.
type picky struct {
	mu   sync.Mutex
	rule func(schemas.CartChanged) error
	got  []int64
}

func (p *picky) consumer(group string) runner.Consumer[schemas.CartChanged] {
	return runner.Consumer[schemas.CartChanged]{
		Group: group, Topics: []string{schemas.CartEvents}, Decode: schemas.DecodeCartChanged,
		Handle: func(_ context.Context, batch []runner.Record[schemas.CartChanged]) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, rec := range batch {
				if p.rule != nil {
					if err := p.rule(rec.Value); err != nil {
						return err
					}
				}
			}
			for _, rec := range batch {
				p.got = append(p.got, rec.Value.Version)
			}
			return nil
		},
	}
}

func (p *picky) become(rule func(schemas.CartChanged) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = rule
}

func (p *picky) versions() []int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]int64{}, p.got...)
}

var errNoGood = errors.New("no good")

func rejectAll(schemas.CartChanged) error { return runner.Permanent(errNoGood) }

// transcript is what a process logged.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *transcript) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *transcript) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
