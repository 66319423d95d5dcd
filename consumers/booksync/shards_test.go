package booksync_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// shards are the carts as the package sees them, in memory, by the rules of cart.Store. Each step takes stepTime.
type shards struct {
	mu      sync.Mutex
	all     []*shard
	inFight map[string]int // steps, by server
	most    int            // steps of one server at the same time
	slow    time.Duration  // what asking a shard takes that doesn't answer
	looks   int
	steps   []string // "<shard> <book>"
	calls   []int    // books of each Learn
}

const stepTime = time.Millisecond

type shard struct {
	server  string
	fault   error
	facts   map[string]int64
	holders map[string][]int64 // by book: the version that each holder's line shows
	walks   map[string]int
	refresh string
	paused  bool
	leased  string
}

var (
	errAway       = &cart.Unavailable{Err: errors.New("connection refused")}
	errRecovering = &cart.Unavailable{Recovering: true, Err: errors.New("fenced")}
)

func (s *shards) Shards() int { return len(s.all) }

func (s *shards) Servers(context.Context) map[string][]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	servers := map[string][]int{}
	for i, one := range s.all {
		servers[one.server] = append(servers[one.server], i)
	}
	return servers
}

func (s *shards) Learn(ctx context.Context, i int, books []schemas.Book) (queued int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.all[i]
	s.calls = append(s.calls, len(books))
	if err := errors.Join(one.fault, ctx.Err()); err != nil {
		return 0, err
	}
	for _, b := range books {
		if b.Version <= one.facts[b.BookID] {
			continue
		}
		one.facts[b.BookID] = b.Version
		if len(one.holders[b.BookID]) > 0 {
			one.walks[b.BookID] = 0
			queued++
		}
	}
	return queued, nil
}

func (s *shards) Walks(_ context.Context, i, limit int) (cart.Walks, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	one := s.all[i]
	if one.refresh != "" {
		return cart.Walks{Refresh: one.refresh}, one.fault
	}
	books := slices.Collect(maps.Keys(one.walks))
	return cart.Walks{Books: books[:min(limit, len(books))]}, one.fault
}

func (s *shards) Step(_ context.Context, i int, book, instance string, limit int) (cart.Step, error) {
	s.mu.Lock()
	one := s.all[i]
	s.inFight[one.server]++
	s.most = max(s.most, s.inFight[one.server])
	s.mu.Unlock()
	time.Sleep(stepTime)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFight[one.server]--
	s.steps = append(s.steps, fmt.Sprint(i, " ", book))
	at, waits := one.walks[book]
	switch {
	case one.fault != nil:
		return cart.Step{}, one.fault
	case one.leased != "" && one.leased != instance:
		return cart.Step{State: cart.WalkBusy}, nil
	case one.paused || one.refresh != "":
		return cart.Step{State: cart.WalkPaused}, nil
	case !waits:
		return cart.Step{State: cart.WalkDone}, nil
	case one.facts[book] == 0:
		return cart.Step{State: cart.WalkUnknown}, nil
	}
	step := cart.Step{State: cart.WalkOn}
	for ; step.Seen < limit && at < len(one.holders[book]); at++ {
		step.Seen++
		if one.holders[book][at] < one.facts[book] {
			one.holders[book][at] = one.facts[book]
			step.Changed++
		}
	}
	if one.walks[book] = at; at == len(one.holders[book]) {
		delete(one.walks, book)
		step.State = cart.WalkDone
	}
	return step, nil
}

func (s *shards) Known(_ context.Context, i int, after string, limit int) (books []cart.KnownBook, next string, err error) {
	s.mu.Lock()
	if s.all[i].fault != nil {
		s.mu.Unlock()
		time.Sleep(s.slow)
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	one := s.all[i]
	for _, id := range slices.Sorted(maps.Keys(one.facts)) {
		if id > after && len(books) < limit {
			books = append(books, cart.KnownBook{BookID: id, Version: one.facts[id]})
		}
	}
	if len(books) == limit {
		next = books[limit-1].BookID
	}
	return books, next, one.fault
}

func (s *shards) Refreshed(_ context.Context, i int, refresh string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[i].refresh == refresh {
		s.all[i].refresh = ""
	}
	return s.all[i].fault
}

func (s *shards) DropWalk(_ context.Context, i int, book string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all[i].walks, book)
	return s.all[i].fault
}

// catalogue is MongoDB's books.
type catalogue struct {
	mu      sync.Mutex
	away    error
	asked   int
	longest int
	books   map[string]int64
}

func (c *catalogue) Books(_ context.Context, ids []string) (found []schemas.Book, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	c.longest = max(c.longest, len(ids))
	for _, id := range ids {
		if version, ok := c.books[id]; ok {
			found = append(found, schemas.Book{BookID: id, Version: version, Status: schemas.Available})
		}
	}
	return found, c.away
}
