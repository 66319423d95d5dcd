package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// proxies make proxies that stand before the engines. They log nothing.
type proxies struct{ server *toxiproxy.ApiServer }

func newProxies() *proxies {
	return &proxies{toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())}
}

// proxy is the way to one engine: everything but the harness goes through it.
type proxy struct {
	name string
	addr string
	toxi *toxiproxy.Proxy
}

// open listens on addr for those who want upstream.
func (p *proxies) open(ctx context.Context, name, addr, upstream string) (*proxy, error) {
	opened := &proxy{name, addr, toxiproxy.NewProxy(p.server, name, addr, upstream)}
	if err := opened.start(ctx); err != nil {
		return nil, fmt.Errorf("open the proxy of %s: %w", name, err)
	}
	return opened, nil
}

// start listens. A connection of somebody else's may have the port for an instant, or a child that is being started, which holds
// copies of all open files until its exec, the one that was tried when the port was chosen.
func (p *proxy) start(ctx context.Context) error {
	return until(ctx, 10*time.Second, func(context.Context) error { return p.toxi.Start() })
}

// cut breaks every connection and refuses new ones, until mend.
func (p *proxy) cut() { p.toxi.Stop() }

// mend ends a cut and every toxic.
func (p *proxy) mend(ctx context.Context) error {
	p.toxi.Toxics.ResetToxics(ctx)
	if p.toxi.Enabled {
		return nil
	}
	return p.start(ctx)
}

// lead lets connections go to another server from now on, and breaks those that there are. It mends a cut.
func (p *proxy) lead(ctx context.Context, upstream string) error {
	p.cut()
	p.toxi.Upstream = upstream
	return p.mend(ctx)
}

// slow delays each direction.
func (p *proxy) slow(latency, jitter time.Duration) error {
	return p.toxic("latency", map[string]int64{"latency": latency.Milliseconds(), "jitter": jitter.Milliseconds()})
}

// swallow lets connections stand, and everything that is sent disappear.
func (p *proxy) swallow() error { return p.toxic("timeout", map[string]int64{"timeout": 0}) }

func (p *proxy) toxic(kind string, attributes map[string]int64) error {
	for _, direction := range []string{"upstream", "downstream"} {
		text, err := json.Marshal(map[string]any{"name": kind + direction, "type": kind, "stream": direction, "attributes": attributes})
		if err != nil {
			return err
		}
		if _, err := p.toxi.Toxics.AddToxicJson(strings.NewReader(string(text))); err != nil {
			return fmt.Errorf("make %s %s: %w", p.name, kind, err)
		}
	}
	return nil
}
