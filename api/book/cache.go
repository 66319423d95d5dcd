package book

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"cartstream/schemas"
)

const (
	cacheFor   = time.Minute
	cacheSize  = 10_000 // books; some 5 MB
	lookupTime = 800 * time.Millisecond
)

// Cache keeps books that were seen in the last minute, so that adding one to a cart doesn't wait for MongoDB. It holds
// at most 10,000 of them. A version never gives way to an older one. It is safe for concurrent use.
type Cache struct {
	find    func(ctx context.Context, bookID string) (schemas.Book, error)
	metrics *metrics
	flights singleflight.Group

	mu      sync.RWMutex
	entries map[string]entry
	// forgotten counts the calls of Forget: what was read under another count is not kept.
	forgotten uint64
}

type entry struct {
	book  schemas.Book
	until time.Time
}

func newCache(find func(context.Context, string) (schemas.Book, error), m *metrics) *Cache {
	return &Cache{find: find, metrics: m, entries: map[string]entry{}}
}

// Cached returns a book as it was within the last minute. It never waits.
func (c *Cache) Cached(bookID string) (schemas.Book, bool) {
	b, ok := c.cached(bookID)
	if ok {
		c.metrics.hits.Inc()
	}
	return b, ok
}

func (c *Cache) cached(bookID string) (schemas.Book, bool) {
	c.mu.RLock()
	e, ok := c.entries[bookID]
	c.mu.RUnlock()
	if !ok || !time.Now().Before(e.until) {
		return schemas.Book{}, false
	}
	return e.book, true
}

// Lookup returns a book as it was within the last minute, from MongoDB if need be; those who ask for the same book at
// the same time share one read. It returns ErrNotFound, which is not kept, or *Unavailable after at most 0.8 seconds.
func (c *Cache) Lookup(ctx context.Context, bookID string) (schemas.Book, error) {
	if b, ok := c.cached(bookID); ok {
		return b, nil
	}
	era := c.era()
	// Who asks after Forget doesn't share a read from before.
	read := c.flights.DoChan(strconv.FormatUint(era, 10)+"/"+bookID, func() (any, error) {
		c.metrics.misses.Inc()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTime)
		defer cancel()
		since := time.Now()
		b, err := c.find(ctx, bookID)
		if err == nil {
			c.put(b, era, since)
		}
		return b, err
	})
	select {
	case r := <-read:
		return r.Val.(schemas.Book), r.Err //nolint:forcetypeassert // that is what the function returns
	case <-ctx.Done():
		return schemas.Book{}, &Unavailable{RetryAfter: retryAfter, Err: fmt.Errorf("look up book %s: %w", bookID, ctx.Err())}
	}
}

// Forget drops everything, and what is being read right now won't be kept.
func (c *Cache) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgotten++
	c.entries = map[string]entry{}
}

// era is to be asked before reading what put will keep.
func (c *Cache) era() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.forgotten
}

// put keeps a book whose reading or writing began at since, in that era.
func (c *Cache) put(b schemas.Book, era uint64, since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if era != c.forgotten {
		return
	}
	old, held := c.entries[b.BookID]
	if held && old.book.Version > b.Version {
		return
	}
	if !held && len(c.entries) >= cacheSize {
		c.evict()
	}
	c.entries[b.BookID] = entry{book: b, until: since.Add(cacheFor)}
}

// evict makes room. Which book goes is left to the map's random order: after a minute all have gone anyway.
func (c *Cache) evict() {
	for id := range c.entries {
		delete(c.entries, id)
		return
	}
}
