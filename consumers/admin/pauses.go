package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"cartstream/schemas"
)

const (
	// pausedKey is a hash outside of the shards: consumer → who paused it when.
	pausedKey = "cartstream:paused"
	// followEvery is how often a process looks at what is wanted.
	followEvery = time.Second
	// settleFor is how long a process that starts waits for Redis to tell.
	settleFor = 5 * time.Second
)

// Switch pauses and resumes the consumers of this process.
type Switch interface {
	Pause(name string) error
	Resume(name string) error
}

// Pauses keeps in Redis which consumers are to rest, so that a pause holds in every process, and after a restart, until
// somebody resumes. While Redis is away nothing changes.
type Pauses struct {
	redis redis.UniversalClient
	here  Switch
	known []string // all consumers that there are
	runs  []string // those of this process
	log   *slog.Logger
	gauge *prometheus.GaugeVec

	mu      sync.Mutex
	resting map[string]bool // consumers of this process
	silent  bool            // Redis gave no answer last time
}

// pause is who wanted a consumer to rest, since when.
type pause struct {
	By    string       `json:"by"`
	Since schemas.Time `json:"since"`
}

// NewPauses returns Pauses of the known consumers, of which those named by runs are this process's.
func NewPauses(client redis.UniversalClient, here Switch, known, runs []string, reg prometheus.Registerer, log *slog.Logger) *Pauses {
	p := &Pauses{redis: client, here: here, known: known, runs: runs, log: log, resting: map[string]bool{},
		gauge: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "cartstream_consumer_paused", Help: "1 for a consumer of this process that an operator paused.",
		}, []string{"consumer"})}
	for _, name := range runs {
		p.gauge.WithLabelValues(name).Set(0)
	}
	reg.MustRegister(p.gauge)
	return p
}

// Routes are the calls that pause, resume and list.
func (p *Pauses) Routes() []Route {
	return []Route{
		{"GET /admin/consumers", p.list},
		{"POST /admin/consumers/{name}/pause", func(w http.ResponseWriter, r *http.Request) error { return p.want(w, r, true) }},
		{"POST /admin/consumers/{name}/resume", func(w http.ResponseWriter, r *http.Request) error { return p.want(w, r, false) }},
	}
}

// Settle pauses what is to rest before anything begins. It waits for Redis, but no longer than 5 s: then nothing counts as
// paused until Redis tells.
func (p *Pauses) Settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleFor)
	defer cancel()
	p.follow(ctx, func(err error) bool { return err == nil })
}

// Run follows what is wanted until ctx ends.
func (p *Pauses) Run(ctx context.Context) error {
	p.follow(ctx, func(error) bool { return false })
	return nil
}

// follow looks again and again until it is enough or ctx ends.
func (p *Pauses) follow(ctx context.Context, enough func(error) bool) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for !enough(p.look(ctx)) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// look makes this process's consumers be as is wanted.
func (p *Pauses) look(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	wanted, err := p.wanted(ctx)
	if err != nil {
		if !p.silent && ctx.Err() == nil {
			p.log.WarnContext(ctx, "which consumers are paused can't be read: nothing changes", "error", err)
		}
		p.silent = true
		return err
	}
	p.silent = false
	for _, name := range p.runs {
		_, rest := wanted[name]
		p.set(ctx, name, rest)
	}
	return nil
}

// wanted returns the consumers that are to rest.
func (p *Pauses) wanted(ctx context.Context) (map[string]pause, error) {
	held, err := p.redis.HGetAll(ctx, pausedKey).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w: %w", pausedKey, schemas.ErrUnavailable, err)
	}
	wanted := make(map[string]pause, len(held))
	for name, value := range held {
		var one pause
		_ = json.Unmarshal([]byte(value), &one) // whoever wrote something else by hand paused it even so
		wanted[name] = one
	}
	return wanted, nil
}

// set pauses or resumes a consumer of this process, where it isn't so already. The caller holds mu.
func (p *Pauses) set(ctx context.Context, name string, rest bool) {
	if p.resting[name] == rest {
		return
	}
	change, value := p.here.Resume, 0.0
	if rest {
		change, value = p.here.Pause, 1
	}
	if err := change(name); err != nil {
		p.log.ErrorContext(ctx, "a consumer can't be paused or resumed", "consumer", name, "error", err)
		return
	}
	p.resting[name] = rest
	p.gauge.WithLabelValues(name).Set(value)
}

// want notes what is wanted for all processes, and makes it so in this one.
func (p *Pauses) want(w http.ResponseWriter, r *http.Request, rest bool) error {
	name := r.PathValue("name")
	if !slices.Contains(p.known, name) {
		return fmt.Errorf("consumer %q: %w", name, ErrNotFound)
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	if rest {
		// The first one who paused it stays on record.
		note, _ := json.Marshal(pause{Subject(ctx), schemas.At(time.Now())}) //nolint:errchkjson // text and a time
		err = p.redis.HSetNX(ctx, pausedKey, name, note).Err()
	} else {
		err = p.redis.HDel(ctx, pausedKey, name).Err()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w: %w", pausedKey, schemas.ErrUnavailable, err)
	}
	if slices.Contains(p.runs, name) {
		p.set(ctx, name, rest)
	}
	Answer(w, http.StatusOK, struct {
		Name   string `json:"name"`
		Paused bool   `json:"paused"`
	}{name, rest})
	return nil
}

// list shows which consumers are to rest, who wanted that and since when.
func (p *Pauses) list(w http.ResponseWriter, r *http.Request) error {
	type consumer struct {
		Name   string        `json:"name"`
		Paused bool          `json:"paused"`
		By     string        `json:"by,omitempty"`
		Since  *schemas.Time `json:"since,omitempty"`
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	wanted, err := p.wanted(ctx)
	if err != nil {
		return err
	}
	list := make([]consumer, 0, len(p.known))
	for _, name := range p.known {
		one := consumer{Name: name}
		if by, rest := wanted[name]; rest {
			one.Paused, one.By = true, by.By
			if !by.Since.IsZero() {
				one.Since = &by.Since
			}
		}
		list = append(list, one)
	}
	Answer(w, http.StatusOK, struct {
		Consumers []consumer `json:"consumers"`
	}{list})
	return nil
}
