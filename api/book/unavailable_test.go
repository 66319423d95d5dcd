package book_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"cartstream/api/book"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

func TestWhileMongoDBIsAway(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	mongodb := enginetest.EmbeddedMongo(t)
	b := setupOn(t, mongodb.Addr)
	b.create("emma", emma)
	mongodb.Kill()
	var reads sync.WaitGroup
	for range 50 { // the first of them find broken connections, the others none
		reads.Go(func() {
			if _, err := b.store.Get(ctx, "emma"); !errors.Is(err, schemas.ErrUnavailable) {
				t.Errorf("a read at the moment of the crash says %v", err)
			}
		})
	}
	reads.Wait()
	for claim, test := range map[string]struct {
		call    func(*book.Store) error
		applied book.Applied
		within  time.Duration
	}{
		"a read says so":                            {func(s *book.Store) error { _, err := s.Get(ctx, "emma"); return err }, "", 4 * time.Second},
		"a list says so":                            {func(s *book.Store) error { _, err := s.List(ctx, book.Query{}); return err }, "", 4 * time.Second},
		"a put is not made":                         {func(s *book.Store) error { _, err := s.Put(ctx, book.Request{}, "emma", emmaFor(1)); return err }, book.NotApplied, 4 * time.Second},
		"a patch is not made":                       {func(s *book.Store) error { _, err := s.Patch(ctx, book.Request{}, "emma", book.Patch{}); return err }, book.NotApplied, 4 * time.Second},
		"a delete is not made":                      {func(s *book.Store) error { return s.Delete(ctx, book.Request{}, "emma") }, book.NotApplied, 4 * time.Second},
		"a lookup says so in under a second, about": {func(s *book.Store) error { _, err := s.Cache().Lookup(ctx, "other"); return err }, "", 2 * time.Second},
		"what was cached is served":                 {func(s *book.Store) error { _, err := s.Cache().Lookup(ctx, "emma"); return err }, "served", time.Second},
	} {
		t.Run(claim, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			err := test.call(b.store)
			if took := time.Since(began); took > test.within {
				t.Errorf("it took %v", took)
			}
			if test.applied == "served" {
				must(t, err)
				return
			}
			var away *book.Unavailable
			if !errors.As(err, &away) || !errors.Is(err, schemas.ErrUnavailable) {
				t.Fatalf("the error is %v", err)
			}
			equal(t, "applied", away.Applied, test.applied)
			if away.RetryAfter <= 0 {
				t.Error("it says nothing about when to try again")
			}
		})
	}
	t.Cleanup(func() { // once all have been refused
		mongodb.Start()
		equal(t, "the version", b.stored("emma")["version"], any(int64(1)))
	})
}

func TestACreateTellsWhetherItWasSent(t *testing.T) {
	t.Parallel()
	mongodb := enginetest.EmbeddedMongo(t)
	create := func(s *book.Store) *book.Unavailable {
		_, err := s.Create(context.Background(), book.Request{}, "persuasion", emma)
		var away *book.Unavailable
		if !errors.As(err, &away) {
			t.Errorf("the error is %v", err)
			return &book.Unavailable{}
		}
		return away
	}
	t.Run("unknown, when the server takes it and stalls", func(t *testing.T) {
		t.Parallel()
		b := setupOn(t, mongodb.Addr)
		b.create("emma", emma)
		mongodb.Freeze()
		equal(t, "applied", create(b.store).Applied, book.MaybeApplied)
		mongodb.Thaw()
		// It was made after all, so its event must come.
		await(t, "the book is there", func() bool {
			_, err := b.store.Get(t.Context(), "persuasion")
			return err == nil
		})
		b.run(b.store)
		b.awaitPublished("persuasion")
	})
	t.Run("no, when there was never a server", func(t *testing.T) {
		t.Parallel()
		nobody, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		must(t, err)
		must(t, nobody.Close())
		b := setupOn(t, fmt.Sprintf("mongodb://%s/cartstream", nobody.Addr()))
		equal(t, "applied", create(b.store).Applied, book.NotApplied)
	})
}

func TestEverythingGoesOnWhenMongoDBComesBack(t *testing.T) {
	mongodb := enginetest.EmbeddedMongo(t)
	b := setupOn(t, mongodb.Addr)
	stop := b.run(b.store)
	b.kafka.set(false, true)
	b.create("emma", emma)
	mongodb.Kill()
	b.kafka.answer(nil) // Kafka has the event, and MongoDB can't be told
	b.kafka.set(false, false)
	await(t, "the cache says that MongoDB is away", func() bool {
		_, err := b.store.Cache().Lookup(t.Context(), "other")
		return errors.Is(err, schemas.ErrUnavailable)
	})
	mongodb.Start()
	b.awaitPublished("emma")
	_, err := b.store.Cache().Lookup(t.Context(), "other")
	if !errors.Is(err, book.ErrNotFound) {
		t.Errorf("a lookup of an unknown book says %v", err)
	}
	stop()
}

func TestTheCacheKnowsOwnChangesAtOnce(t *testing.T) {
	b := setup(t)
	cache := b.store.Cache()
	b.create("emma", emma)
	for step, change := range map[string]func() (schemas.Book, error){
		"put": func() (schemas.Book, error) { return b.store.Put(t.Context(), book.Request{}, "emma", emmaFor(1)) },
		"patch": func() (schemas.Book, error) {
			return b.store.Patch(t.Context(), book.Request{}, "emma", book.Patch{Stock: ptr(int64(1))})
		},
	} {
		want, err := change()
		must(t, err)
		got, ok := cache.Cached("emma")
		if !ok || got != want {
			t.Errorf("after a %s the cache has %v (%v), want %v", step, got, ok, want)
		}
	}
	must(t, b.store.Delete(t.Context(), book.Request{}, "emma"))
	got, err := cache.Lookup(t.Context(), "emma")
	must(t, err)
	equal(t, "the status", got.Status, schemas.Discontinued)
}

func TestNoErrorShowsAPassword(t *testing.T) {
	b := setupOn(t, "mongodb://root:hunter2@127.0.0.1:1/cartstream?authSource=admin")
	_, err := b.store.Cache().Lookup(t.Context(), "emma")
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error is %v", err)
	}
}
