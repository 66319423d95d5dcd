package blackbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"cartstream/deploy/enginetest"
	"cartstream/deploy/outside"
	"cartstream/schemas"
)

// shopper makes random changes to one cart, one after the other, each until it is decided, and remembers the answers.
type shopper struct {
	user    string
	random  *rand.Rand
	answers []schemas.CartChanged
}

func (p *shopper) next(books []string) call {
	book := books[p.random.IntN(len(books))]
	switch n := p.random.IntN(100); {
	case n < 45:
		return addItem(book, 1+p.random.Int64N(5))
	case n < 75:
		return setItem(book, p.random.Int64N(20))
	case n < 90:
		return call{method: "DELETE", path: "/v1/cart/items/" + book}
	case n < 97:
		return call{method: "POST", path: "/v1/cart/items/" + book + "/acknowledge"}
	default:
		return call{method: "DELETE", path: "/v1/cart"}
	}
}

func (p *shopper) shop(ctx context.Context, s *stack, books []string, calls int, done *atomic.Int64) error {
	for i := range calls {
		c := p.next(books)
		c.key = fmt.Sprintf("%s-%d", p.user, i)
		change, err := insist(ctx, s, p.user, c)
		if errors.Is(err, errRefused) {
			err = nil
		} else if err == nil {
			p.answers = append(p.answers, change)
		}
		if err != nil {
			return fmt.Errorf("%s, call %d: %w", p.user, i, err)
		}
		done.Add(1)
	}
	return nil
}

// told compares the answers with what Kafka tells: each acknowledged change is there, as it was answered.
func (p *shopper) told(t *testing.T, st *story) {
	t.Helper()
	var version int64
	for _, a := range p.answers {
		if a.Version == version || a.Version == 0 {
			continue // nothing changed
		}
		if a.Version != version+1 {
			t.Errorf("%s was answered version %d after %d", p.user, a.Version, version)
		}
		version = a.Version
		if st == nil || int64(len(st.raw)) < version || string(st.raw[version-1]) != string(schemas.EncodeCartChanged(a)) {
			t.Fatalf("%s was answered %+v, Kafka tells otherwise", p.user, a)
		}
	}
	if st != nil && version != int64(len(st.raw)) {
		t.Errorf("%s: Kafka has %d versions, %d were answered", p.user, len(st.raw), version)
	}
}

// crowd lets users shop at the same time while meanwhile runs, and returns them.
func crowd(t *testing.T, s *stack, users, calls int, meanwhile func(done *atomic.Int64)) ([]*shopper, []*outside.Device) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	books := createBooks(t, s, func(i int) string { return fmt.Sprintf("Volume %d", i) }, 12)
	var (
		shoppers []*shopper
		devices  []*outside.Device
		done     atomic.Int64
		all      errgroup.Group
		aside    sync.WaitGroup
	)
	for i := range users {
		p := &shopper{user: fmt.Sprintf("user-%d", i), random: rand.New(rand.NewPCG(seed, uint64(i)))}
		shoppers = append(shoppers, p)
		if i%5 == 0 {
			for _, api := range s.apis {
				devices = append(devices, follow(t, p.user, api.addr))
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	aside.Go(func() { meanwhile(&done) })
	all.SetLimit(16)
	for _, p := range shoppers {
		all.Go(func() error { return p.shop(ctx, s, books, calls, &done) })
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	aside.Wait()
	return shoppers, devices
}

func names(shoppers []*shopper) []string {
	users := make([]string, len(shoppers))
	for i, p := range shoppers {
		users[i] = p.user
	}
	return users
}

// manyUsers is a crowd and the calls of each, 5,000 in all; fewer on the embedded engines, whose MongoDB takes milliseconds a
// write.
func manyUsers() (users, calls int) {
	if enginetest.Real() {
		return 100, 50
	}
	return 40, 30
}

func TestEveryChangeArrivesEverywhere(t *testing.T) {
	s := start(t, options{apis: 2, consumers: 1})
	users, calls := manyUsers()
	shoppers, devices := crowd(t, s, users, calls, func(*atomic.Int64) {})
	all := settled(t, s, names(shoppers), devices)
	for _, p := range shoppers {
		p.told(t, all[p.user])
	}
}

func TestEveryChangeArrivesAlthoughProcessesAreKilled(t *testing.T) {
	s := start(t, options{apis: 2, consumers: 2})
	users, calls := manyUsers()
	shoppers, devices := crowd(t, s, users, calls, func(done *atomic.Int64) {
		for i, p := range []*process{s.apis[0], s.consumers[0], s.apis[1], s.consumers[1], s.apis[0], s.apis[1]} {
			eventually(t, "the crowd goes on", func() error {
				if n := done.Load(); n < int64((i+1)*users*calls/8) {
					return fmt.Errorf("%d calls are done", n)
				}
				return nil
			})
			p.kill()
			p.start()
			p.waitReady()
		}
	})
	all := settled(t, s, names(shoppers), devices)
	for _, p := range shoppers {
		p.told(t, all[p.user])
	}
}
