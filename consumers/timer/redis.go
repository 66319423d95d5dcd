package timer

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/take.lua
var takeScript string

//go:embed lua/renew.lua
var renewScript string

//go:embed lua/settle.lua
var settleScript string

//go:embed lua/ask.lua
var askScript string

var (
	take   = redis.NewScript(takeScript)
	renew  = redis.NewScript(renewScript)
	settle = redis.NewScript(settleScript)
	ask    = redis.NewScript(askScript)
)

// resting is what the lease of a job holds that rests after a failure.
const resting = "rests"

// redisLeases keeps a job's lease and a hash of what is known of it under "cartstream:timer:{<name>}", outside of the
// shards: a Redis that lost them makes each job run once more, which changes nothing.
type redisLeases struct{ redis redis.UniversalClient }

// NewLeases returns the leases that stand in Redis. It waits for nothing; an error of a call means that Redis can't be
// asked now. The clock is the server's, so that instances' own may differ.
func NewLeases(client redis.UniversalClient) Leases { return redisLeases{client} }

// patience bounds each call.
const patience = 3 * time.Second

func keys(job string) []string {
	return []string{"cartstream:timer:{" + job + "}:lease", "cartstream:timer:{" + job + "}"}
}

func (r redisLeases) State(ctx context.Context, job string) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	k := keys(job)
	lease, err := r.redis.Get(ctx, k[0]).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return State{}, fmt.Errorf("look at the timer %s: %w", job, err)
	}
	known, err := r.redis.HGetAll(ctx, k[1]).Result()
	if err != nil {
		return State{}, fmt.Errorf("look at the timer %s: %w", job, err)
	}
	now, err := r.redis.Time(ctx).Result()
	if err != nil {
		return State{}, fmt.Errorf("look at the clock: %w", err)
	}
	f := fields(known)
	return State{
		Running:  lease != "" && lease != resting,
		Instance: known["instance"], Started: f.time("started"),
		Slot: f.time("slot"), Finished: f.time("finished"),
		Took: time.Duration(f.number("took")) * time.Millisecond, Items: f.number("items"),
		Failed: f.time("failed"), Failure: known["failure"],
		Asked: f.number("asked"), Answered: f.number("answered"),
		Now: now,
	}, nil
}

// fields are those of a job's hash. One that can't be read counts as missing: at worst the job runs once more.
type fields map[string]string

func (f fields) number(name string) int64 {
	n, err := strconv.ParseInt(f[name], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (f fields) time(name string) time.Time {
	if ms := f.number(name); ms != 0 {
		return time.UnixMilli(ms)
	}
	return time.Time{}
}

func (r redisLeases) Take(ctx context.Context, job string, c Claim, ttl time.Duration) (int64, bool, error) {
	asked, err := r.run(ctx, take, keys(job), c.Token, ttl.Milliseconds(), c.Slot.UnixMilli(), c.Instance, c.Now.UnixMilli())
	if err != nil {
		return 0, false, fmt.Errorf("take the timer %s: %w", job, err)
	}
	return asked, asked >= 0, nil
}

func (r redisLeases) Renew(ctx context.Context, job, token string, ttl time.Duration) error {
	held, err := r.run(ctx, renew, keys(job)[:1], token, ttl.Milliseconds())
	return outcome("renew", job, held, err)
}

func (r redisLeases) Settle(ctx context.Context, job, token string, o Outcome) error {
	held, err := r.run(ctx, settle, keys(job), token, string(o.Kind), o.At.UnixMilli(), o.Slot.UnixMilli(), o.Asked,
		o.Took.Milliseconds(), o.Items, o.Failure, max(1, o.Rest.Milliseconds()))
	return outcome("settle", job, held, err)
}

func (r redisLeases) Ask(ctx context.Context, job string) error {
	if _, err := r.run(ctx, ask, keys(job)); err != nil {
		return fmt.Errorf("ask for the timer %s: %w", job, err)
	}
	return nil
}

func (r redisLeases) run(ctx context.Context, s *redis.Script, keys []string, argv ...any) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.Run(ctx, r.redis, keys, argv...).Int64()
}

func outcome(what, job string, held int64, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("%s the timer %s: %w", what, job, err)
	case held != 1:
		return fmt.Errorf("%s the timer %s: %w", what, job, ErrLost)
	}
	return nil
}
