package cart_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

func TestCallersOfASilentRedisWaitAtTheSameTime(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := open(t, nil, silent.Addr().String())
	began, errs := time.Now(), make(chan error)
	for range 8 {
		go func() {
			_, err := s.Get(context.Background(), "u1")
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; !errors.Is(err, schemas.ErrUnavailable) {
			t.Errorf("%v, want unavailable", err)
		}
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the last one waited %v", took)
	}
}

// mute is a connection on which nothing arrives any more.
type mute struct {
	net.Conn
	muted *atomic.Bool
}

func (m mute) Write(b []byte) (int, error) {
	if m.muted.Load() {
		return len(b), nil
	}
	return m.Conn.Write(b)
}

func TestARedisThatFallsSilentIsKnownToBeInASecond(t *testing.T) {
	var muted atomic.Bool
	s := open(t, func(o *cart.Options) {
		o.Redis.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			return mute{conn, &muted}, err
		}
	}, enginetest.Redis(t))
	raise(t, s, cart.Ready)
	add := func() error {
		_, err := s.Add(t.Context(), cart.Request{User: "u1"}, "emma", 1)
		return err
	}
	for range 3 { // it answers
		if err := add(); err != nil {
			t.Fatal(err)
		}
	}
	muted.Store(true)
	for turn := range 2 { // those who send by themselves, then those who know better
		began, errs := time.Now(), make(chan error)
		for range 8 {
			go func() { errs <- add() }()
		}
		for range 8 {
			if err := <-errs; !errors.Is(err, schemas.ErrUnavailable) {
				t.Errorf("turn %d: %v, want unavailable", turn, err)
			}
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("turn %d: the last one waited %v", turn, took)
		}
	}
	muted.Store(false)
	within := time.Now().Add(10 * time.Second)
	err := add()
	for ; err != nil && time.Now().Before(within); err = add() {
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		t.Error("it answers again:", err)
	}
}

func TestATitleThatTheCatalogueWouldRefuseStopsNobody(t *testing.T) {
	s := open(t, func(o *cart.Options) {
		o.Catalogue = shelf{"edited": {BookID: "edited", Title: "By\x1ehand\nin \x00MongoDB", UnitPrice: 5, Status: schemas.Available, Version: 1}}
	}, enginetest.Redis(t))
	raise(t, s, cart.Ready)
	r, err := s.Add(t.Context(), cart.Request{User: "u1"}, "edited", 1)
	if err != nil || len(r.Change.Items) != 1 || r.Change.Items[0].Title != "By hand in  MongoDB" {
		t.Fatalf("%+v, %v", r.Change, err)
	}
	entries, err := cart.Backlog(t.Context(), s, "u1")
	if err != nil || len(entries) != 1 {
		t.Fatalf("outbox: %d entries, %v", len(entries), err)
	}
	if _, err := schemas.DecodeCartChanged(entries[0].Value); err != nil {
		t.Fatal(err)
	}
}
