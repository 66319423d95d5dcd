package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Scope is which carts a run compares.
type Scope string

// The scopes.
const (
	Recent Scope = "recent"
	All    Scope = "all"
)

// figures are what is known of the newest run of a scope, and where it stands.
type figures struct {
	Scope      Scope     `json:"scope"`
	StartedAt  time.Time `json:"startedAt"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
	// Part and After are where a run over all carts goes on.
	Part  string `json:"part,omitempty"`
	After string `json:"after,omitempty"`
	// BooksFrom is the time of change from which on books are to be compared.
	BooksFrom time.Time `json:"booksFrom,omitzero"`

	compared, drifted, healed atomic.Int64
}

// counted are figures as they are stored and told.
type counted struct {
	*figures
	Compared int64 `json:"compared"`
	Drifted  int64 `json:"drifted"`
	Healed   int64 `json:"healed"`
}

// part is which of parts the run is in.
func (f *figures) part() int {
	for i, p := range parts {
		if p.name == f.Part {
			return i
		}
	}
	return 0
}

// journal keeps figures in Redis. One that forgot them begins anew.
type journal struct{ redis redis.UniversalClient }

// patience bounds each call.
const patience = 3 * time.Second

func key(s Scope) string { return "cartstream:reconcile:" + string(s) }

// load returns what is known of the scope's newest run, nil where nothing is.
func (j journal) load(ctx context.Context, s Scope) (*figures, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	text, err := j.redis.Get(ctx, key(s)).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, nil //nolint:nilnil // both say what they are
	}
	if err != nil {
		return nil, fmt.Errorf("read how far reconciliation came: %w", err)
	}
	c := counted{figures: &figures{}}
	if json.Unmarshal(text, &c) != nil {
		return nil, nil //nolint:nilnil // another release's: a run begins anew
	}
	c.compared.Store(c.Compared)
	c.drifted.Store(c.Drifted)
	c.healed.Store(c.Healed)
	return c.figures, nil
}

// begin returns the scope's unfinished run, if it began that recently, or a new one.
func (j journal) begin(ctx context.Context, s Scope, within time.Duration) (*figures, error) {
	last, err := j.load(ctx, s)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if last != nil && last.FinishedAt.IsZero() && now.Sub(last.StartedAt) < within {
		return last, nil
	}
	f := &figures{Scope: s, StartedAt: now}
	if last != nil {
		f.BooksFrom = last.BooksFrom
	}
	return f, j.save(ctx, f)
}

func (j journal) save(ctx context.Context, f *figures) error {
	text, err := json.Marshal(counted{f, f.compared.Load(), f.drifted.Load(), f.healed.Load()})
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		err = j.redis.Set(ctx, key(f.Scope), text, 0).Err()
	}
	if err != nil {
		return fmt.Errorf("keep how far reconciliation came: %w", err)
	}
	return nil
}

func (j journal) end(ctx context.Context, f *figures) error {
	f.FinishedAt, f.Part, f.After = time.Now(), "", ""
	return j.save(ctx, f)
}
