package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"

	"cartstream/deploy/outside"
	"cartstream/schemas"
)

// settleFor bounds how long the product may take, once nothing is wrong any more, until all that it keeps agrees.
const settleFor = 60 * time.Second

// ending is what the product came to.
type ending struct {
	after    time.Duration // how long it took
	diverged int           // users of whom something still differed when the time was over
	carts    map[string]schemas.Cart
	read     time.Duration // when the carts were read, since the run began
	stories  map[string]*story
	faults   faults
}

// settle waits until Redis, Kafka, MongoDB, cart.state.v1 and every socket agree, all by itself, and the outbox is empty.
// Where they don't in time, what stayed different is the ending's first fault.
func (l *load) settle(ctx context.Context, poison map[string]bool) (*ending, error) {
	began := time.Now()
	e := &ending{}
	err := until(ctx, settleFor, func(ctx context.Context) error {
		if err := l.quiet(ctx); err != nil {
			return err
		}
		if err := l.look(ctx, e); err != nil {
			return err
		}
		return l.agree(ctx, e, poison)
	})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	e.after = time.Since(began)
	if err != nil {
		e.faults.add("not settled after %v: %v", settleFor, err)
		if err := l.tell(ctx, e, poison); err != nil {
			return nil, err
		}
	}
	for _, d := range l.devices {
		if err := d.Fault(); err != nil {
			e.faults.add("%v", err)
		}
	}
	for _, p := range l.stack.processes() {
		if err := p.alive(); err != nil {
			e.faults.add("%v", err)
		}
	}
	return e, nil
}

// tell has the ending know what Kafka and the API tell, though nothing ever settled: else everything would look lost.
func (l *load) tell(ctx context.Context, e *ending, poison map[string]bool) error {
	if err := l.look(ctx, e); err != nil {
		return err
	}
	events, err := l.stack.readTopic(ctx, schemas.CartEvents)
	if err == nil {
		e.stories = stories(events, poison, &e.faults)
	}
	return err
}

// look reads the carts.
func (l *load) look(ctx context.Context, e *ending) error {
	read := l.since()
	carts, err := l.carts(ctx)
	if err == nil {
		e.carts, e.read = carts, read
	}
	return err
}

// quiet returns nil when every process is ready and nothing is on its way.
func (l *load) quiet(ctx context.Context) error {
	for _, p := range l.stack.processes() {
		a, err := send(ctx, p.addr, "", call{method: http.MethodGet, path: "/readyz"})
		if err != nil || a.status != http.StatusOK {
			return fmt.Errorf("%s is not ready: %d %s %w", p.name, a.status, a.body, err)
		}
	}
	if err := l.stack.outboxEmpty(ctx); err != nil {
		return err
	}
	return l.stack.idle(ctx)
}

// outboxEmpty looks into every stream of Redis: outboxes are all there are.
func (s *stack) outboxEmpty(ctx context.Context) error {
	look := func(ctx context.Context, c *redis.Client) error {
		all := c.ScanType(ctx, 0, "*", 1000, "stream").Iterator()
		for all.Next(ctx) {
			if n, err := c.XLen(ctx, all.Val()).Result(); err != nil || n > 0 {
				return fmt.Errorf("outbox %s holds %d records: %w", all.Val(), n, err)
			}
		}
		return all.Err()
	}
	if cluster, ok := s.redis.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, look)
	}
	return look(ctx, s.redis.(*redis.Client))
}

// carts returns what GET /v1/cart shows every user.
func (l *load) carts(ctx context.Context) (map[string]schemas.Cart, error) {
	var (
		mu    sync.Mutex
		carts = make(map[string]schemas.Cart, users)
	)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for i := range users {
		g.Go(func() error {
			c, err := getCart(ctx, l.stack.apis[i%apis].addr, l.tokens[userID(i)])
			mu.Lock()
			defer mu.Unlock()
			carts[userID(i)] = c
			return err
		})
	}
	return carts, g.Wait()
}

// agree compares everything with the carts.
func (l *load) agree(ctx context.Context, e *ending, poison map[string]bool) error {
	for _, d := range l.devices {
		if err := d.Shows(e.carts[d.User]); err != nil {
			return err
		}
	}
	events, err := l.stack.readTopic(ctx, schemas.CartEvents)
	if err != nil {
		return err
	}
	was := e.faults // each look tells the whole story
	e.stories = stories(events, poison, &was)
	stored, err := l.stack.stored(ctx)
	if err != nil {
		return err
	}
	states, err := l.stack.states(ctx, &was)
	if err != nil {
		return err
	}
	if err := l.stack.letters(ctx, poison, &was); err != nil {
		return err
	}
	books, err := l.catalogue(ctx)
	if err != nil {
		return err
	}
	var first error
	e.diverged = 0
	for user, c := range e.carts {
		if err := whole(user, c, e.stories[user], stored, states, books); err != nil {
			e.diverged++
			first = err
		}
	}
	if first != nil {
		return fmt.Errorf("%d of %d carts differ: %w", e.diverged, len(e.carts), first)
	}
	e.faults = was
	return nil
}

// whole returns nil where everything says the same of a user's cart.
func whole(user string, c schemas.Cart, s *story, stored, states map[string]schemas.Cart, books map[string]schemas.Book) error {
	if c.Version == 0 {
		if _, ok := stored[user]; ok || s != nil {
			return fmt.Errorf("MongoDB or Kafka has a cart of %s, who has none", user)
		}
		return nil
	}
	if s == nil {
		return fmt.Errorf("kafka has nothing of %s, who is at version %d", user, c.Version)
	}
	if err := outside.Same(s.cart, c); err != nil {
		return fmt.Errorf("kafka's events of %s: the cart that they come to %w", user, err)
	}
	for where, other := range map[string]schemas.Cart{"MongoDB": stored[user], schemas.CartState: states[user]} {
		if err := outside.Same(other, c); err != nil {
			return fmt.Errorf("%s: the cart of %s %w", where, user, err)
		}
		if other.Epoch != s.cart.Epoch {
			return fmt.Errorf("%s: the cart of %s has epoch %d, its last change %d", where, user, other.Epoch, s.cart.Epoch)
		}
	}
	for _, line := range c.Items {
		b := books[line.BookID]
		if line.Title != b.Title || line.UnitPrice != b.UnitPrice || string(line.Availability) != string(b.Status) {
			return fmt.Errorf("the cart of %s shows %q at %d, %s; the catalogue %q at %d, %s", user, line.Title, line.UnitPrice, line.Availability, b.Title, b.UnitPrice, b.Status)
		}
	}
	return nil
}

// catalogue returns the books as they are now.
func (l *load) catalogue(ctx context.Context) (map[string]schemas.Book, error) {
	all := make(map[string]schemas.Book, books)
	for i := range books {
		a, err := send(ctx, l.stack.apis[0].addr, "", call{method: http.MethodGet, path: "/v1/books/" + bookID(i)})
		if err != nil {
			return nil, err
		}
		var b schemas.Book
		if err := json.Unmarshal(a.body, &b); err != nil || a.status != http.StatusOK {
			return nil, fmt.Errorf("GET %s: %d %s", bookID(i), a.status, a.body)
		}
		all[b.BookID] = b
	}
	return all, nil
}

// stored returns MongoDB's carts.
func (s *stack) stored(ctx context.Context) (map[string]schemas.Cart, error) {
	found, err := s.mongo.Database("cartstream").Collection("carts").Find(ctx, bson.D{})
	if err != nil {
		return nil, err
	}
	var all []schemas.Cart
	if err := found.All(ctx, &all); err != nil {
		return nil, err
	}
	stored := make(map[string]schemas.Cart, len(all))
	for _, c := range all {
		stored[c.UserID] = c
	}
	return stored, nil
}

// states returns the newest record of each key in cart.state.v1.
func (s *stack) states(ctx context.Context, f *faults) (map[string]schemas.Cart, error) {
	records, err := s.readTopic(ctx, schemas.CartState)
	if err != nil {
		return nil, err
	}
	newest := map[string]schemas.Cart{}
	for _, r := range records {
		c, err := schemas.DecodeCart(r.Value)
		if err != nil {
			f.add("%s/%d@%d: %v", r.Topic, r.Partition, r.Offset, err)
			continue
		}
		if was := newest[c.UserID]; schemas.Newer(was.Epoch, was.Version, c.Epoch, c.Version) {
			f.add("cart.state.v1 goes back from %d.%d to %d.%d for %s", was.Epoch, was.Version, c.Epoch, c.Version, c.UserID)
		}
		newest[c.UserID] = c
	}
	return newest, nil
}
