package blackbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"cartstream/deploy/outside"
	"cartstream/schemas"
)

// brought is how many carts the consumers that run say they brought up to their books.
func (s *stack) brought() (n float64) {
	for _, p := range s.consumers {
		a, err := send(context.Background(), p.addr, "", call{method: "GET", path: "/metrics"})
		if err != nil {
			continue // it was killed
		}
		for line := range strings.Lines(string(a.body)) {
			if value, ok := strings.CutPrefix(line, "cartstream_booksync_carts_changed_total "); ok {
				one, _ := strconv.ParseFloat(strings.TrimSpace(value), 64) // 0 at worst
				n += one
			}
		}
	}
	return n
}

// fanOut lets users hold one book, and changes its price three times while they add and remove lines and the consumers are
// killed: each cart ends at the last price, and Kafka, MongoDB and the sockets tell of each change once.
func fanOut(t *testing.T, users int) {
	t.Helper()
	s := start(t, options{apis: 2, consumers: 2})
	books := createBooks(t, s, func(i int) string { return fmt.Sprintf("Volume %d", i) }, 6)
	book := books[0]
	prices := []int64{1100, 1200, 1300} // rising, so that an event of one that was told already shows
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)

	shoppers := make([]*shopper, users)
	var devices []*outside.Device
	for i := range shoppers {
		shoppers[i] = &shopper{user: fmt.Sprintf("user-%d", i), random: rand.New(rand.NewPCG(seed, uint64(i)))}
		if i%(users/20) == 0 {
			devices = append(devices, follow(t, shoppers[i].user, s.apis[i/(users/20)%2].addr))
		}
	}
	each := func(what func(context.Context, *shopper) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		var all errgroup.Group
		all.SetLimit(16)
		for _, p := range shoppers {
			all.Go(func() error { return what(ctx, p) })
		}
		if err := all.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	each(func(ctx context.Context, p *shopper) error {
		c := addItem(book, 1+p.random.Int64N(5))
		c.key = p.user + "-first"
		_, err := insist(ctx, s, p.user, c)
		return err
	})

	var done atomic.Int64
	var meanwhile sync.WaitGroup
	meanwhile.Go(func() {
		eventually(t, "the users have begun", func() error {
			if n := done.Load(); n < int64(users/10) {
				return fmt.Errorf("%d of %d are done", n, users)
			}
			return nil
		})
		for i, price := range prices {
			before := s.brought()
			s.admin(t, "PATCH", book, fmt.Sprintf(`{"unitPrice":%d}`, price))
			if i == len(prices)-1 {
				return
			}
			eventually(t, "carts follow", func() error {
				if n := s.brought() - before; n < float64(users/20) {
					return fmt.Errorf("%v of %d", n, users)
				}
				return nil
			})
			s.consumers[i].kill() // others wait some seconds for the walks that it was in the middle of
			s.consumers[i].start()
		}
	})
	each(func(ctx context.Context, p *shopper) error {
		defer done.Add(1)
		for i := range 2 {
			c := p.next(books)
			if c.path == "/v1/cart" { // a cleared cart would have nothing to follow
				c = addItem(books[1], 1)
			}
			c.key = fmt.Sprintf("%s-%d", p.user, i)
			if _, err := insist(ctx, s, p.user, c); err != nil && !errors.Is(err, errRefused) {
				return fmt.Errorf("%s: %w", p.user, err)
			}
		}
		return nil
	})
	meanwhile.Wait()

	last := prices[len(prices)-1]
	for _, p := range shoppers {
		eventually(t, p.user+" has the last price", func() error {
			c, err := getCart(t.Context(), s.apis[0].addr, p.user)
			if err != nil {
				return err
			}
			for _, l := range c.Items {
				if l.BookID == book && l.UnitPrice != last {
					return fmt.Errorf("the price is %d", l.UnitPrice)
				}
			}
			return nil
		})
	}
	told, brought := settled(t, s, names(shoppers), devices), 0
	for user, st := range told {
		var price int64
		for _, c := range st.changes {
			if c.Type != schemas.BookChangedInCart {
				continue
			}
			brought++
			if len(c.Items) != 1 || c.Items[0].BookID != book || c.Items[0].UnitPrice <= price || c.Items[0].PreviousUnitPrice == nil {
				t.Errorf("%s: a book_changed of %+v after the price %d", user, c.Items, price)
				continue
			}
			price = c.Items[0].UnitPrice
		}
	}
	t.Logf("%d changes by the book's owner in %d carts", brought, users)
	if brought < users/2 {
		t.Errorf("only %d", brought)
	}
}

func TestHundredsOfCartsFollowTheirBookAlthoughConsumersAreKilled(t *testing.T) { fanOut(t, 200) }
