package reconcile_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// late are carts whose changes count as long past, and that can be made to fail.
type late struct {
	*cart.Store
	mu     sync.Mutex
	away   map[int]error
	before func(what string) error // called with each call's name
	// afterOne is called after the next read of a shard's digests, once, before they are handed out.
	afterOne map[int]func()
	// afterGet is called before a cart that was read is handed out, once.
	afterGet func()
}

func (l *late) fail(shard int, what string) error {
	l.mu.Lock()
	before, err := l.before, l.away[shard]
	l.mu.Unlock()
	if before != nil {
		err = errors.Join(before(what), err)
	}
	return err
}

func (l *late) Changed(ctx context.Context, shard int, now time.Time, limit int) ([]string, error) {
	if err := l.fail(shard, "changed"); err != nil {
		return nil, err
	}
	return l.Store.Changed(ctx, shard, now.Add(2*time.Minute), limit)
}

func (l *late) Compared(ctx context.Context, shard int, now time.Time, users []string) error {
	if err := l.fail(shard, "compared"); err != nil {
		return err
	}
	return l.Store.Compared(ctx, shard, now.Add(2*time.Minute), users)
}

func (l *late) Digests(ctx context.Context, shard int, users []string) ([]cart.Digest, error) {
	if err := l.fail(shard, "digests"); err != nil {
		return nil, err
	}
	digests, err := l.Store.Digests(ctx, shard, users)
	l.mu.Lock()
	after := l.afterOne[shard]
	delete(l.afterOne, shard)
	l.mu.Unlock()
	if after != nil {
		after()
	}
	return digests, err
}

func (l *late) Get(ctx context.Context, user string) (cart.View, error) {
	v, err := l.Store.Get(ctx, user)
	l.mu.Lock()
	after := l.afterGet
	l.afterGet = nil
	l.mu.Unlock()
	if after != nil {
		after()
	}
	return v, err
}

func (l *late) Learn(ctx context.Context, shard int, books []schemas.Book) (int, error) {
	if err := l.fail(shard, "learn"); err != nil {
		return 0, err
	}
	return l.Store.Learn(ctx, shard, books)
}

type shelf struct{}

func (shelf) Cached(id string) (schemas.Book, bool) { return bookOf(id, 1), true }

func (shelf) Lookup(_ context.Context, id string) (schemas.Book, error) { return bookOf(id, 1), nil }

func (shelf) Forget() {}

func bookOf(id string, version int64) schemas.Book {
	return schemas.Book{BookID: id, Title: "Title of " + id, Author: "A", UnitPrice: 1000 + version, Currency: "EUR", Stock: 5,
		Status: schemas.Available, Version: version}
}
