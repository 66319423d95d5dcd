package cart_test

import (
	"context"
	"errors"
	"net"
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
