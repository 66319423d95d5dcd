package book

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"cartstream/schemas"
)

func timeAt(ms int64) time.Time { return time.UnixMilli(ms) }

// catalogue is a MongoDB whose answers the test decides.
type catalogue struct {
	reads   atomic.Int64
	version atomic.Int64
	hold    chan struct{} // where set, a read that has its answer waits for it to close
}

func (c *catalogue) find(ctx context.Context, id string) (schemas.Book, error) {
	c.reads.Add(1)
	b := schemas.Book{BookID: id, Version: c.version.Load()}
	if c.hold != nil {
		select {
		case <-c.hold:
		case <-ctx.Done():
			return schemas.Book{}, failure("read", "", ctx.Err())
		}
	}
	if id == "nope" {
		return schemas.Book{}, ErrNotFound
	}
	return b, nil
}

func cacheOf(c *catalogue) *Cache { return newCache(c.find, newMetrics(nil)) }

func lookup(t *testing.T, c *Cache, id string) schemas.Book {
	t.Helper()
	b, err := c.Lookup(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestABookIsCachedForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := &catalogue{}
		cache := cacheOf(from)
		if _, ok := cache.Cached("emma"); ok {
			t.Error("cached before it was looked up")
		}
		lookup(t, cache, "emma")
		time.Sleep(time.Minute - time.Nanosecond)
		lookup(t, cache, "emma")
		if b, ok := cache.Cached("emma"); !ok || b.BookID != "emma" {
			t.Errorf("within the minute the cache has %v, %v", b, ok)
		}
		time.Sleep(time.Nanosecond)
		if _, ok := cache.Cached("emma"); ok {
			t.Error("cached for longer than a minute")
		}
		lookup(t, cache, "emma")
		if n := from.reads.Load(); n != 2 {
			t.Errorf("%d reads, want 2", n)
		}
	})
}

func TestAMissingBookIsNotRemembered(t *testing.T) {
	from := &catalogue{}
	cache := cacheOf(from)
	for range 2 {
		if _, err := cache.Lookup(t.Context(), "nope"); !errors.Is(err, ErrNotFound) {
			t.Errorf("the error is %v", err)
		}
	}
	if n := from.reads.Load(); n != 2 {
		t.Errorf("%d reads, want 2", n)
	}
}

func TestWhoAsksAtTheSameTimeSharesOneRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := &catalogue{hold: make(chan struct{})}
		cache := cacheOf(from)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { lookup(t, cache, "emma") })
		}
		leaver, leave := context.WithCancel(t.Context())
		all.Go(func() {
			if _, err := cache.Lookup(leaver, "emma"); !errors.Is(err, context.Canceled) {
				t.Errorf("who leaves gets %v", err)
			}
		})
		synctest.Wait()
		leave()
		close(from.hold)
		all.Wait()
		if n := from.reads.Load(); n != 1 {
			t.Errorf("%d reads, want 1", n)
		}
	})
}

func TestWhoLeavesDoesNotSpoilTheReadForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := &catalogue{hold: make(chan struct{})}
		cache := cacheOf(from)
		first, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { _, _ = cache.Lookup(first, "emma") })
		synctest.Wait()
		all.Go(func() { lookup(t, cache, "emma") })
		synctest.Wait()
		leave()
		synctest.Wait()
		close(from.hold)
		all.Wait()
	})
}

func TestALookupGivesUpInUnderASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache := cacheOf(&catalogue{hold: make(chan struct{})})
		began := time.Now()
		_, err := cache.Lookup(t.Context(), "emma")
		if !errors.Is(err, schemas.ErrUnavailable) {
			t.Errorf("the error is %v", err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestForget(t *testing.T) {
	t.Run("drops everything", func(t *testing.T) {
		cache := cacheOf(&catalogue{})
		lookup(t, cache, "emma")
		cache.Forget()
		if _, ok := cache.Cached("emma"); ok {
			t.Error("still cached")
		}
	})
	t.Run("keeps out what was being read, and later lookups read anew", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			hold := make(chan struct{})
			from := &catalogue{hold: hold}
			from.version.Store(1)
			cache := cacheOf(from)
			var old sync.WaitGroup
			old.Go(func() { lookup(t, cache, "emma") })
			synctest.Wait() // the old read has its answer, but hasn't returned
			cache.Forget()
			from.version.Store(2)
			var fresh schemas.Book
			var later sync.WaitGroup
			later.Go(func() { fresh = lookup(t, cache, "emma") })
			synctest.Wait()
			close(hold)
			old.Wait()
			later.Wait()
			if fresh.Version != 2 {
				t.Errorf("a lookup after Forget got version %d of a read before it", fresh.Version)
			}
			if b, _ := cache.Cached("emma"); b.Version != 2 {
				t.Errorf("version %d is cached, want 2", b.Version)
			}
		})
	})
	t.Run("keeps out a change that was written before it", func(t *testing.T) {
		cache := cacheOf(&catalogue{})
		era := cache.era()
		cache.Forget()
		cache.put(schemas.Book{BookID: "emma", Version: 5}, era, time.Now())
		if _, ok := cache.Cached("emma"); ok {
			t.Error("it is cached")
		}
	})
	t.Run("races with lookups", func(t *testing.T) {
		from := &catalogue{}
		cache := cacheOf(from)
		stop := make(chan struct{})
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						_, _ = cache.Lookup(t.Context(), "emma")
					}
				}
			})
		}
		for range 2000 {
			v := from.version.Add(1) // from here on every read has it
			cache.Forget()
			if b, ok := cache.Cached("emma"); ok && b.Version < v {
				t.Fatalf("version %d is cached after Forget, when it was %d before", b.Version, v)
			}
		}
		close(stop)
		all.Wait()
	})
}

func TestANewerVersionNeverGivesWayToAnOlder(t *testing.T) {
	cache := cacheOf(&catalogue{})
	for _, version := range []int64{2, 3, 1} {
		cache.put(schemas.Book{BookID: "emma", Version: version}, cache.era(), time.Now())
	}
	if b, _ := cache.Cached("emma"); b.Version != 3 {
		t.Errorf("version %d is cached, want 3", b.Version)
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	cache := cacheOf(&catalogue{})
	for i := range cacheSize + 100 {
		cache.put(schemas.Book{BookID: strconv.Itoa(i)}, cache.era(), time.Now())
	}
	if n := len(cache.entries); n != cacheSize {
		t.Errorf("it holds %d books", n)
	}
	if _, ok := cache.Cached(fmt.Sprint(cacheSize + 99)); !ok {
		t.Error("the newest was not kept")
	}
}
