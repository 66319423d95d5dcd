package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cartstream/deploy/outside"
	"cartstream/schemas"
)

// The crowd. With users who think for about think between two calls it makes some 250 calls a second.
const (
	users      = 200
	families   = 20 // users who share their cart between clients
	familySize = 3
	followed   = 30 // users with a socket on each api
	think      = 800 * time.Millisecond
	insistFor  = 15 * time.Second // how long a keyed call is repeated
)

func userID(i int) string { return fmt.Sprintf("user-%03d", i) }

// load is the crowd at work, with everything that it was told.
type load struct {
	stack   *stack
	began   time.Time
	tokens  map[string]string
	boss    string
	ops     [users]history
	changes atomic.Int64 // mutations that were answered
	stop    context.CancelFunc
	clients sync.WaitGroup
	devices []*outside.Device
	prices  *prices
	once    bool // keyed calls aren't repeated: a total loss forgets their answers
}

// history is what the clients of one user were told, in the order of the answers.
type history struct {
	mu  sync.Mutex
	ops []op
}

// begin lets the crowd in. Who does what follows from the seed; when, from the machine.
func begin(ctx context.Context, s *stack, seed uint64, sc scenario) (*load, error) {
	l := &load{stack: s, began: time.Now(), tokens: map[string]string{}, once: sc.forgets}
	var err error
	if l.boss, err = sign("boss", "admin"); err != nil {
		return nil, err
	}
	for i := range users {
		if l.tokens[userID(i)], err = sign(userID(i), "customer"); err != nil {
			return nil, err
		}
	}
	if err := s.createBooks(ctx, l.boss); err != nil {
		return nil, err
	}
	for i := range followed {
		for _, api := range s.apis {
			l.devices = append(l.devices, outside.Follow(ctx, api.addr, userID(i*users/followed), l.tokens[userID(i*users/followed)]))
		}
	}
	ctx, l.stop = context.WithCancel(ctx)
	for i := range users {
		n := 1
		if i%(users/families) == 1 {
			n = familySize
		}
		for c := range n {
			random := rand.New(rand.NewPCG(seed, uint64(i*familySize+c))) //nolint:gosec // has to be repeatable
			l.clients.Go(func() { l.shop(ctx, i, c, random) })
		}
	}
	if !sc.quiet {
		l.prices = newPrices(rand.New(rand.NewPCG(seed, users*familySize))) //nolint:gosec // has to be repeatable
		l.clients.Go(func() { l.prices.run(ctx, l) })
	}
	return l, nil
}

// end stops the crowd and returns once every call has been answered or given up.
func (l *load) end() {
	l.stop()
	l.clients.Wait()
}

// since is the time of the run.
func (l *load) since() time.Duration { return time.Since(l.began) }

// shop makes one call after the other until ctx ends.
func (l *load) shop(ctx context.Context, user, client int, random *rand.Rand) {
	var seen version
	h := &l.ops[user]
	for n := 0; ; n++ {
		o := next(random, random.IntN(books))
		o.user, o.client = userID(user), client
		api := random.IntN(apis)
		wait := time.Duration(random.Int64N(int64(2 * think)))
		keyed, guarded := random.IntN(100) < 45, random.IntN(100) < 8
		if pause(ctx, wait) != nil {
			return
		}
		switch {
		case o.mutates() && keyed:
			o.key = fmt.Sprintf("%s-%d-%d", o.user, client, n)
		case o.mutates() && guarded:
			o.match = seen
		}
		l.decide(ctx, &o, api)
		if o.result == answered && o.at.newer(seen) || o.slug == "version-mismatch" {
			seen = o.at
		}
		if o.result == answered && o.mutates() {
			l.changes.Add(1)
		}
		h.mu.Lock()
		h.ops = append(h.ops, o)
		h.mu.Unlock()
	}
}

// decide makes the call; a keyed one again, on the apis in turn, for as long as nobody knows what became of it.
func (l *load) decide(ctx context.Context, o *op, api int) {
	// A call that was begun is finished when the crowd is sent home.
	ctx = context.WithoutCancel(ctx)
	o.from = l.since()
	for try := 0; ; try++ {
		a, err := send(ctx, l.stack.apis[(api+try)%apis].addr, l.tokens[o.user], o.call())
		o.to = l.since()
		o.take(a, err)
		again := o.key != "" && !l.once && o.result == unknown && o.to-o.from < insistFor
		if !again || pause(ctx, 100*time.Millisecond) != nil {
			return
		}
	}
}

// take notes what a call came back with. A repeat that was not applied says nothing of the calls before it.
func (o *op) take(a answer, err error) {
	was := o.result
	o.status, o.slug, o.result = a.status, "", unknown
	var dial *net.OpError
	switch {
	case errors.As(err, &dial) && dial.Op == "dial" && o.key == "":
		o.result = undone // with a key, net/http may have sent it before, on a connection that broke
	case err != nil:
	case a.status == http.StatusOK:
		o.result = answered
		err := json.Unmarshal(a.body, o.body())
		if o.at, _ = parse(strings.Trim(a.tag, `"`)); err != nil || o.kind != get && o.at != (version{o.change.Epoch, o.change.Version}) {
			o.fault = fmt.Sprintf("answer %d, ETag %s: %.200s", a.status, a.tag, a.body)
		}
	case a.status == http.StatusServiceUnavailable:
		p := a.problem()
		o.slug = p.Type
		if p.Applied == "no" {
			o.result = undone
		}
		if p.Type != "unavailable" || o.kind != get && p.Applied != "no" && p.Applied != "unknown" {
			o.fault = fmt.Sprintf("answer 503: %.200s", a.body)
		}
	case a.status >= 400 && a.status < 500:
		p := a.problem()
		o.result, o.slug = refused, p.Type
		o.at = version{p.Epoch, p.Version}
	default:
		o.fault = fmt.Sprintf("answer %d: %.200s", a.status, a.body)
	}
	if was == unknown && (o.result == undone || o.result == refused) {
		o.result = unknown
	}
}

// body is where a 200's body goes.
func (o *op) body() any {
	if o.kind == get {
		return &o.cart
	}
	o.change = schemas.CartChanged{}
	return &o.change
}

func parse(text string) (version, error) {
	e, n, _ := strings.Cut(text, ".")
	epoch, err := strconv.ParseInt(e, 10, 64)
	if err != nil {
		return version{}, err
	}
	number, err := strconv.ParseInt(n, 10, 64)
	return version{epoch, number}, err
}
