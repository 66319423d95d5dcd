package blackbox

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

// cutter stands between clients and a server. Where armed, it cuts one connection in a few right after a command went
// out: a third of them before the server has it, a third before the answer can come, a third when it is there.
type cutter struct {
	listener net.Listener
	server   string
	armed    atomic.Bool
	cuts     atomic.Int64
}

// oneIn is how many commands go through for each that is cut.
const oneIn = 12

func newCutter(t *testing.T, server string) *cutter {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: listener, server: server}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go c.serve(client)
		}
	}()
	return c
}

func (c *cutter) serve(client net.Conn) {
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", c.server)
	if err != nil {
		return
	}
	defer server.Close()
	var swallow atomic.Bool // the next answer is for nobody
	go func() {
		defer client.Close()
		defer server.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := server.Read(buffer)
			if swallow.Load() || err != nil {
				return
			}
			if _, err := client.Write(buffer[:n]); err != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			return
		}
		cut := c.armed.Load() && rand.IntN(oneIn) == 0
		when := rand.IntN(3)
		if cut {
			c.cuts.Add(1)
			swallow.Store(true)
		}
		if cut && when == 0 {
			return
		}
		if _, err := server.Write(buffer[:n]); err != nil {
			return
		}
		if cut {
			if when == 1 {
				_, _ = io.Copy(io.Discard, client) // until the answer came and closed it
			}
			return
		}
	}
}

const cutUsers = 12

// untilCut lets users call at the same time until connections were cut often enough.
func untilCut(t *testing.T, c *cutter, each func(user string, n int) error) {
	t.Helper()
	cuts := int64(300)
	if enginetest.Real() {
		cuts = 1000
	}
	c.armed.Store(true)
	deadline := time.Now().Add(3 * time.Minute)
	var all errgroup.Group
	for u := range cutUsers {
		all.Go(func() error {
			for n := 0; c.cuts.Load() < cuts; n++ {
				if time.Now().After(deadline) {
					return fmt.Errorf("only %d cuts", c.cuts.Load())
				}
				if err := each(fmt.Sprintf("cut-%d", u), n); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := all.Wait()
	c.armed.Store(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d connections were cut", c.cuts.Load())
}

// held returns how many copies of the book the user's cart holds, from the first read that gets through.
func held(t *testing.T, s *stack, user, book string) (quantity int64) {
	t.Helper()
	eventually(t, "the cart of "+user, func() error {
		cart, err := getCart(t.Context(), s.apis[0].addr, user)
		for _, l := range cart.Items {
			if l.BookID == book {
				quantity = l.Quantity
			}
		}
		return err
	})
	return quantity
}

func TestALostAnswerIsToldAsWhatItIs(t *testing.T) {
	c := newCutter(t, enginetest.Redis(t))
	s := start(t, options{apis: 1, redis: c.listener.Addr().String()})
	book := createBooks(t, s, func(int) string { return "Volume" }, 1)[0]
	var ok, no, unknown, applied atomic.Int64
	carts := make([]guess, cutUsers)
	untilCut(t, c, func(user string, n int) error {
		var u int
		if _, err := fmt.Sscanf(user, "cut-%d", &u); err != nil {
			return err
		}
		g := &carts[u]
		a, err := send(t.Context(), s.apis[0].addr, token(user, ""), addItem(book, 1))
		if err != nil {
			return err
		}
		switch slug, outcome := a.problem(); {
		case slug == "quantity-limit":
			_, err := insist(t.Context(), s, user, call{method: "DELETE", path: "/v1/cart", key: fmt.Sprintf("clear-%d", n)})
			*g = guess{open: g.open}
			return err
		case a.status == http.StatusOK:
			ok.Add(1)
			var change schemas.CartChanged
			if err := json.Unmarshal(a.body, &change); err != nil {
				return err
			}
			g.known++
			n, err := g.look(change.Items[0].Quantity)
			applied.Add(n)
			return err
		case slug == "unavailable" && outcome == "no":
			no.Add(1)
		case slug == "unavailable" && outcome == "unknown":
			unknown.Add(1)
			g.open++
		default:
			return fmt.Errorf("%s: %d %s", user, a.status, a.body)
		}
		late, err := g.look(held(t, s, user, book))
		applied.Add(late)
		return err
	})
	t.Logf("%d answered, %d not applied, %d unknown, of which %d were applied", ok.Load(), no.Load(), unknown.Load(), applied.Load())
	if unknown.Load() == 0 || applied.Load() == 0 || applied.Load() == unknown.Load() {
		t.Error("the cuts did not come before and after the script ran")
	}
}

// guess is what the answers so far allow a cart to hold: known copies, and one more for each call of unknown outcome,
// which Redis may still have before it when its connection is long gone.
type guess struct{ known, open int64 }

// look compares a quantity with the guess, and returns how many calls of unknown outcome turn out to be applied.
func (g *guess) look(quantity int64) (applied int64, err error) {
	applied = quantity - g.known
	if applied < 0 || applied > g.open {
		return 0, fmt.Errorf("the cart holds %d, the answers allow %d to %d", quantity, g.known, g.known+g.open)
	}
	g.known, g.open = quantity, g.open-applied
	return applied, nil
}

func TestAKeyedCallSurvivesLostAnswers(t *testing.T) {
	c := newCutter(t, enginetest.Redis(t))
	s := start(t, options{apis: 1, redis: c.listener.Addr().String()})
	book := createBooks(t, s, func(int) string { return "Volume" }, 1)[0]
	var resent atomic.Int64
	quantities := make([]int64, cutUsers)
	untilCut(t, c, func(user string, n int) error {
		var u int
		if _, err := fmt.Sscanf(user, "cut-%d", &u); err != nil {
			return err
		}
		want := quantities[u] + 1
		next := addItem(book, 1)
		if want > 900 {
			want, next = 0, call{method: "DELETE", path: "/v1/cart"}
		}
		next.key = fmt.Sprintf("call-%d", n)
		a, err := send(t.Context(), s.apis[0].addr, token(user, ""), next)
		if a.replayed {
			resent.Add(1)
		}
		for err == nil && a.status == http.StatusServiceUnavailable { // cut more often than the API tries
			a, err = send(t.Context(), s.apis[0].addr, token(user, ""), next)
		}
		if err != nil {
			return err
		}
		if a.status != http.StatusOK {
			return fmt.Errorf("%s: %d %s, want 200", user, a.status, a.body)
		}
		var change schemas.CartChanged
		if err := json.Unmarshal(a.body, &change); err != nil {
			return err
		}
		if want > 0 && change.Items[0].Quantity != want {
			return fmt.Errorf("%s: quantity %d, want %d", user, change.Items[0].Quantity, want)
		}
		quantities[u] = want
		return nil
	})
	t.Logf("%d calls were answered by what an earlier attempt had kept", resent.Load())
	if resent.Load() == 0 {
		t.Error("no answer was lost after its script ran")
	}
}
