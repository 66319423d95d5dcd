package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"cartstream/schemas"
	"cartstream/schemas/token"
)

// Probe asks an engine whether it is there. The error, which is logged and never shown, says that it isn't. notice is
// shown: a sentence about an engine that is there but not as it should be.
type Probe func(ctx context.Context) (notice string, err error)

// Readiness says how to find out what can be served.
type Readiness struct {
	Redis, Kafka, MongoDB Probe
	// Shards counts those that can be served and those that are being recovered.
	Shards func() (ready, recovering int)
}

const (
	// probeFor bounds how long an engine is waited for; probeEvery is how long what was found is told again, so that
	// whoever asks for readiness can't keep the engines busy.
	probeFor   = time.Second
	probeEvery = 500 * time.Millisecond
)

// readiness is the body of /readyz.
type readiness struct {
	Status  string            `json:"status"`
	Engines map[string]engine `json:"engines"`
	Shards  shards            `json:"shards"`
}

type engine struct {
	State  string `json:"state"`
	Detail string `json:"detail,omitempty"`
}

type shards struct {
	Ready      int `json:"ready"`
	Recovering int `json:"recovering"`
}

func (s *server) health(c *gin.Context) {
	c.Writer.Header()["Cache-Control"] = []string{"no-store"}
	send(c.Writer, http.StatusOK, plainJSON, []byte(`{"status":"ok"}`))
}

// ready returns the handler of /readyz: 503 where no shard can be served, else 200.
func (s *server) ready() gin.HandlerFunc {
	var (
		mu     sync.Mutex
		asked  time.Time
		status int
		body   []byte
	)
	return func(c *gin.Context) {
		mu.Lock()
		if time.Since(asked) >= probeEvery {
			found := s.probe(context.WithoutCancel(c.Request.Context()))
			status = http.StatusOK
			if found.Status == "unavailable" {
				status = http.StatusServiceUnavailable
			}
			var err error
			if body, err = json.Marshal(found); err != nil {
				panic(fmt.Sprintf("rest: encode readiness: %v", err)) // it holds nothing that JSON lacks
			}
			asked = time.Now()
		}
		answer, code := body, status
		mu.Unlock()
		c.Writer.Header()["Cache-Control"] = []string{"no-store"}
		send(c.Writer, code, plainJSON, answer)
	}
}

// probe asks all engines at once.
func (s *server) probe(ctx context.Context) readiness {
	probes := map[string]Probe{"redis": s.Readiness.Redis, "kafka": s.Readiness.Kafka, "mongodb": s.Readiness.MongoDB}
	r := readiness{Status: "ready", Engines: map[string]engine{}}
	var (
		mu  sync.Mutex
		all sync.WaitGroup
	)
	for name, ask := range probes {
		all.Go(func() {
			e := s.ask(ctx, name, ask)
			mu.Lock()
			defer mu.Unlock()
			r.Engines[name] = e
		})
	}
	all.Wait()
	r.Shards.Ready, r.Shards.Recovering = s.Readiness.Shards()
	if r.Engines["redis"].State == down {
		r.Shards.Ready = 0
	}
	switch {
	case r.Shards.Ready == 0:
		r.Status = "unavailable"
	case r.Shards.Recovering > 0 || r.Engines["kafka"].State == down || r.Engines["mongodb"].State == down:
		r.Status = "degraded"
	}
	return r
}

const (
	up   = "up"
	down = "down"
)

// ask bounds the wait for an engine also where its client doesn't.
func (s *server) ask(ctx context.Context, name string, probe Probe) engine {
	ctx, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	type answer struct {
		notice string
		err    error
	}
	answers := make(chan answer, 1)
	go func() {
		notice, err := probe(ctx)
		answers <- answer{notice, err}
	}()
	var a answer
	select {
	case a = <-answers:
	case <-ctx.Done():
		a.err = ctx.Err()
	}
	if a.err != nil {
		s.Log.DebugContext(ctx, "engine not ready", "engine", name, "error", a.err)
		return engine{State: down, Detail: "does not answer"}
	}
	return engine{State: up, Detail: a.notice}
}

func openAPI(c *gin.Context, _ token.Claims) error {
	c.Writer.Header()["Cache-Control"] = []string{"no-cache"}
	send(c.Writer, http.StatusOK, plainJSON, schemas.OpenAPI)
	return nil
}
