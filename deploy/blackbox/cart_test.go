package blackbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"golang.org/x/sync/errgroup"

	"cartstream/deploy/enginetest"
	"cartstream/deploy/outside"
	"cartstream/schemas"
)

func TestManyClientsOfOneCartLoseNothing(t *testing.T) {
	s := start(t, options{apis: 2})
	books := createBooks(t, s, func(i int) string { return fmt.Sprintf("Volume %d", i) }, 5)
	const clients, adds = 64, 50
	versions := make([][]int64, clients)
	var all errgroup.Group
	for c := range clients {
		all.Go(func() error {
			for i := range adds {
				a, err := send(t.Context(), s.apis[c%2].addr, token("crowded", ""), addItem(books[(c+i)%len(books)], 1))
				if err != nil || a.status != http.StatusOK {
					return fmt.Errorf("%d %s: %w", a.status, a.body, err)
				}
				var change schemas.CartChanged
				if err := json.Unmarshal(a.body, &change); err != nil {
					return err
				}
				versions[c] = append(versions[c], change.Version)
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	handed := slices.Concat(versions...)
	slices.Sort(handed)
	for i, v := range handed {
		if v != int64(i)+1 {
			t.Fatalf("version %d was handed out in place of %d", v, i+1)
		}
	}
	c, err := getCart(t.Context(), s.apis[0].addr, "crowded")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range c.Items {
		if line.Quantity != clients*adds/int64(len(books)) {
			t.Errorf("%s: quantity %d, want %d", line.BookID, line.Quantity, clients*adds/len(books))
		}
	}
	if c.Version != clients*adds || c.TotalQuantity != clients*adds || len(c.Items) != len(books) {
		t.Errorf("%+v", c)
	}
}

// asked and seen are one call of a history that porcupine checks.
type asked struct {
	kind     string // add, set, remove, get
	book     int
	quantity int64
}

type seen struct {
	missing  bool // 404 line-not-found
	version  int64
	quantity [3]int64 // get: of every book; else of the call's own
}

type state struct {
	version  int64
	quantity [3]int64
}

// sequential is a cart of three books in which calls happen one after the other.
var sequential = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(before, input, output any) (bool, any) {
		s, in, out := before.(state), input.(asked), output.(seen)
		was := s.quantity[in.book]
		switch in.kind {
		case "get":
			return out.version == s.version && out.quantity == s.quantity, s
		case "add":
			s.quantity[in.book] += in.quantity
		case "set":
			s.quantity[in.book] = in.quantity
		case "remove":
			if out.missing || was == 0 {
				return out.missing && was == 0, s
			}
			s.quantity[in.book] = 0
		}
		if s.quantity[in.book] != was {
			s.version++
		}
		return !out.missing && out.version == s.version && out.quantity[in.book] == s.quantity[in.book], s
	},
	Equal:             func(a, b any) bool { return a.(state) == b.(state) },
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v → %+v", input, output) },
}

func TestConcurrentHistoriesAreLinearizable(t *testing.T) {
	s := start(t, options{apis: 2})
	books := createBooks(t, s, func(i int) string { return fmt.Sprintf("Volume %d", i) }, 3)
	const clients, calls = 8, 60
	var (
		mu      sync.Mutex
		history []porcupine.Operation
		all     errgroup.Group
	)
	began := time.Now()
	for c := range clients {
		all.Go(func() error {
			random := rand.New(rand.NewPCG(uint64(began.UnixNano()), uint64(c)))
			for range calls {
				in := asked{kind: []string{"add", "set", "remove", "get"}[random.IntN(4)], book: random.IntN(3), quantity: 1 + random.Int64N(3)}
				from := time.Since(began)
				out, err := ask(t.Context(), s.apis[random.IntN(2)].addr, books, in)
				if err != nil {
					return err
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: c, Input: in, Call: int64(from), Output: out, Return: int64(time.Since(began))})
				mu.Unlock()
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	if result := porcupine.CheckOperationsTimeout(sequential, history, time.Minute); result != porcupine.Ok {
		t.Fatalf("the history of %d calls is %s", len(history), result)
	}
}

func ask(ctx context.Context, addr string, books []string, in asked) (seen, error) {
	c := call{method: "GET", path: "/v1/cart"}
	switch in.kind {
	case "add":
		c = addItem(books[in.book], in.quantity)
	case "set":
		c = setItem(books[in.book], in.quantity)
	case "remove":
		c = call{method: "DELETE", path: "/v1/cart/items/" + books[in.book]}
	}
	a, err := send(ctx, addr, token("contested", ""), c)
	if err != nil {
		return seen{}, err
	}
	if slug, _ := a.problem(); slug == "line-not-found" {
		return seen{missing: true}, nil
	}
	if a.status != http.StatusOK {
		return seen{}, fmt.Errorf("%+v: %d %s", in, a.status, a.body)
	}
	var body struct {
		Version int64
		Items   []schemas.Line
	}
	if err := json.Unmarshal(a.body, &body); err != nil {
		return seen{}, err
	}
	out := seen{version: body.Version}
	for _, l := range body.Items {
		out.quantity[slices.Index(books, l.BookID)] = l.Quantity
	}
	return out, nil
}

func TestTheLargestCartPassesEveryStage(t *testing.T) {
	s := start(t, options{apis: 1, consumers: 1})
	books := createBooks(t, s, func(i int) string { return strings.Repeat("𝄞", 497) + fmt.Sprintf("%03d", i) }, 500)
	d := follow(t, "collector", s.apis[0].addr)
	s.consumers[0].kill() // or the embedded engines would write a megabyte for each line
	for _, b := range books {
		if _, err := insist(t.Context(), s, "collector", setItem(b, 999)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := insist(t.Context(), s, "collector", addItem(books[0], 1)); !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "quantity-limit") {
		t.Errorf("one more: %v, want quantity-limit", err)
	}
	s.consumers[0].start()
	settled(t, s, []string{"collector"}, []*outside.Device{d})
	watched := watch(t, s.apis[0].addr, "collector")
	want, err := getCart(t.Context(), s.apis[0].addr, "collector")
	if err != nil {
		t.Fatal(err)
	}
	if err := outside.Same(watched, want); err != nil {
		t.Errorf("task watch shows something else: %.300v", err)
	}
}

// watch returns the first snapshot that `task watch` prints.
func watch(t *testing.T, addr, user string) schemas.Cart {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "run", "cartstream/deploy/stack", "watch", user)
	cmd.Env = append(cmd.Environ(), "HTTP_ADDR="+addr, "JWT_SECRET="+secret)
	dieWithParent(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var frame struct{ Cart schemas.Cart }
	if err := json.NewDecoder(out).Decode(&frame); err != nil {
		t.Fatal(err)
	}
	cancel()
	_ = cmd.Wait() // it was told to end
	return frame.Cart
}

func TestAckKafkaAnswersOnceKafkaHasTheChange(t *testing.T) {
	s := start(t, options{apis: 2, consumers: 1, env: []string{"ACK=kafka"}})
	shoppers, devices := crowd(t, s, 10, 20, func(*atomic.Int64) {})
	last := readTopic(t, s.brokers, schemas.CartEvents) // at once: nothing may be on its way
	newest := map[string]int64{}
	for _, r := range last {
		c, err := schemas.DecodeCartChanged(r.Value)
		if err != nil {
			t.Fatal(err)
		}
		newest[c.UserID] = max(newest[c.UserID], c.Version)
	}
	for _, p := range shoppers {
		if n := len(p.answers); n > 0 && newest[p.user] < p.answers[n-1].Version {
			t.Errorf("%s was answered version %d, Kafka had %d", p.user, p.answers[n-1].Version, newest[p.user])
		}
	}
	settled(t, s, names(shoppers), devices)
}

func TestCartsOfARedisThatLostEverythingComeBack(t *testing.T) {
	redis := enginetest.EmbeddedRedis(t)
	s := start(t, options{apis: 2, consumers: 1, redis: redis.Addr})
	shoppers, devices := crowd(t, s, 20, 20, func(*atomic.Int64) {})
	before := settled(t, s, names(shoppers), devices)
	redis.Kill()
	redis.Start()
	var all errgroup.Group
	all.SetLimit(8)
	for i, p := range shoppers {
		all.Go(func() error {
			c := setItem("book-000", int64(100+i)) // changes every cart
			c.key = "after-the-loss"
			change, err := insist(t.Context(), s, p.user, c)
			if err != nil {
				return err
			}
			was := before[p.user].cart
			if !change.Whole || change.Version != was.Version+1 || change.Epoch <= was.Epoch {
				return fmt.Errorf("%s: %d.%d (whole %v) after %d.%d", p.user, change.Epoch, change.Version, change.Whole, was.Epoch, was.Version)
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	settled(t, s, names(shoppers), devices)
}
