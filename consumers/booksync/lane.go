package booksync

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"cartstream/api/cart"
)

// Walks are walks over the carts of one shard that hold one book. A cart.Store has them.
type Walks interface {
	// Servers returns the shards by the server that holds them. Those whose server isn't known are left out.
	Servers(ctx context.Context) map[string][]int
	// Walks returns some of the books whose walk waits in the shard; none while the shard asks for a comparison first.
	Walks(ctx context.Context, shard, limit int) (cart.Walks, error)
	// Step brings the next holders of the book up to what the shard knows.
	Step(ctx context.Context, shard int, book, instance string, limit int) (cart.Step, error)
}

const (
	// lookEvery is how often each shard is asked for its walks, and for how long those of one look go on.
	lookEvery = time.Second
	// lookAgain is the least time between two looks, however often someone hurries.
	lookAgain = 50 * time.Millisecond
	// pausedFor is when a shard is looked at again whose outbox was long, or whose walks another process has.
	pausedFor = 200 * time.Millisecond
	// walksOfALook is the most walks of a shard that are taken in turn.
	walksOfALook = 100
	// holdersOfAStep is the most carts that a step looks at. A step holds Redis for as long as it takes: about 1 ms. Of
	// smaller ones each cart costs more, and a busy machine brings fewer of them to an end.
	holdersOfAStep = 100
)

// lane walks in the shards of one Redis server: one step at a time, since a step holds the whole server, and between two
// steps it leaves the server to others for a while.
type lane struct {
	*Fanout
	server  string
	stopped chan struct{}
	hurry   chan struct{}
	shards  atomic.Pointer[[]int]
	waiting atomic.Int64 // walks
	journal *journal
	turn    int // rotates who comes first
	pace    pace
}

func newLane(f *Fanout, server string) *lane {
	return &lane{
		Fanout: f, server: server, stopped: make(chan struct{}), hurry: make(chan struct{}, 1),
		journal: newJournal(f.log, f.meter, f.versions, server),
	}
}

func (l *lane) stop() { close(l.stopped) }

func (l *lane) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-l.stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	for ctx.Err() == nil {
		await(ctx, l.hurry, l.round(ctx))
	}
}

// queue are the walks of one shard.
type queue struct {
	shard int
	books []string
	next  int
}

// round looks at every shard once and walks for a while. It returns for how long there is nothing to do, unless someone
// hurries.
func (l *lane) round(ctx context.Context) (idle time.Duration) {
	if l.paused.Load() {
		return lookEvery
	}
	select {
	case <-l.hurry: // this look is what it asks for
	default:
	}
	began := time.Now()
	queues := l.look(ctx)
	idle = lookEvery
	for len(queues) > 0 {
		left := queues[:0]
		for i, q := range queues {
			hurried := len(l.hurry) > 0 && time.Since(began) > lookAgain
			if hurried || time.Since(began) > lookEvery || l.paused.Load() || ctx.Err() != nil {
				l.turn += i
				return 0
			}
			sent := time.Now()
			s, err := l.step(ctx, q)
			// A cart that changes costs some four times as much as one that is only looked at.
			rest := l.pace.rest(s.Seen+3*s.Changed, time.Since(sent))
			switch {
			case err != nil || s.State == cart.WalkBusy:
			case s.State == cart.WalkPaused:
				idle = pausedFor
			case len(q.books) > 0:
				left = append(left, q)
			}
			if rest > 0 {
				_ = sleep(ctx, rest) // the loop asks ctx itself
			}
		}
		queues = left
	}
	l.journal.close()
	return max(idle, lookAgain)
}

// look asks all shards for their walks.
func (l *lane) look(ctx context.Context) []*queue {
	shards := *l.shards.Load()
	found := make([]*queue, len(shards))
	var looking sync.WaitGroup
	for i, shard := range shards {
		looking.Go(func() {
			w, err := l.carts.Walks(ctx, shard, walksOfALook)
			if err != nil {
				if !recovering(err) && ctx.Err() == nil {
					l.complain("a shard can't be asked for its walks", err)
				}
				return
			}
			if l.debts.answered(shard, w.Refresh) {
				l.compareSoon()
			}
			if len(w.Books) > 0 {
				found[i] = &queue{shard: shard, books: w.Books}
			}
		})
	}
	looking.Wait()
	var queues []*queue
	walks := 0
	for i := range found {
		// Who comes first changes, so that no shard always waits for the others.
		if q := found[(i+l.turn)%len(found)]; q != nil {
			queues = append(queues, q)
			walks += len(q.books)
		}
	}
	l.waiting.Store(int64(walks))
	l.journal.open(queues)
	return queues
}

// step takes one step of the shard's next walk.
func (l *lane) step(ctx context.Context, q *queue) (cart.Step, error) {
	at := q.next % len(q.books)
	book := q.books[at]
	began := time.Now()
	s, err := l.carts.Step(ctx, q.shard, book, l.instance, holdersOfAStep)
	if err != nil {
		if !recovering(err) && ctx.Err() == nil {
			l.complain("a walk waits", err)
		}
		return cart.Step{}, err
	}
	l.meter.steps.Observe(time.Since(began).Seconds())
	l.meter.carts.Add(float64(s.Changed))
	l.journal.step(book, s)
	switch s.State {
	case cart.WalkOn:
		q.next++
	case cart.WalkDone:
		l.waiting.Add(-1)
		q.drop(at)
	case cart.WalkUnknown:
		q.drop(at)
		l.unknown.add(q.shard, book)
		l.compareSoon()
	case cart.WalkBusy, cart.WalkPaused:
	}
	return s, nil
}

func (q *queue) drop(at int) {
	q.books[at] = q.books[len(q.books)-1]
	q.books = q.books[:len(q.books)-1]
}
