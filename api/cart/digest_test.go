package cart_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
)

func oneShard(t *testing.T) *cart.Store {
	t.Helper()
	s := open(t, func(o *cart.Options) { o.Shards = 1 }, enginetest.Redis(t))
	raise(t, s, cart.Ready)
	return s
}

// digest asks for one user's.
func digest(t *testing.T, s *cart.Store, user string) cart.Digest {
	t.Helper()
	d, err := s.Digests(t.Context(), 0, []string{user})
	if err != nil || len(d) != 1 {
		t.Fatalf("%v, %v", d, err)
	}
	return d[0]
}

func TestEqualCartsHaveEqualDigests(t *testing.T) {
	s, r := oneShard(t), cart.Request{User: "u1", Email: "u1@example.com"}
	for _, book := range []string{"faust", "emma"} {
		do(t, func() (cart.Result, error) { return s.Add(t.Context(), r, book, 2) })
	}
	if err := cart.Know(t.Context(), s, emmaAt(2)); err != nil {
		t.Fatal(err)
	}
	walked(t, s)
	v, err := s.Get(t.Context(), "u1")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := digest(t, s, "u1"), cart.DigestOf(v.Cart); got != want || got.Version != 3 {
		t.Fatalf("%+v, want %+v", got, want)
	}
	if got := digest(t, s, "u2"); got != (cart.Digest{}) {
		t.Errorf("of no cart: %+v", got)
	}
	for claim, change := range map[string]func(c *schemas.Cart){
		"a quantity":      func(c *schemas.Cart) { c.Items[0].Quantity++ },
		"a price":         func(c *schemas.Cart) { c.Items[0].UnitPrice++ },
		"a line's total":  func(c *schemas.Cart) { c.Items[0].LineTotal++ },
		"a title":         func(c *schemas.Cart) { c.Items[1].Title += "!" },
		"an availability": func(c *schemas.Cart) { c.Items[1].Availability = schemas.OutOfStock },
		"a price seen":    func(c *schemas.Cart) { c.Items[1].PreviousUnitPrice = nil },
		"the amount":      func(c *schemas.Cart) { c.TotalAmount++ },
		"the order":       func(c *schemas.Cart) { c.Items[0], c.Items[1] = c.Items[1], c.Items[0] },
		"a line less":     func(c *schemas.Cart) { c.Items = c.Items[:1] },
		"the time":        func(c *schemas.Cart) { at := schemas.Milliseconds(1); c.UpdatedAt = &at },
		"the version":     func(c *schemas.Cart) { c.Version++ },
		"the epoch":       func(c *schemas.Cart) { c.Epoch-- },
	} {
		t.Run("but not with another "+claim, func(t *testing.T) {
			c := v.Cart
			c.Items = append([]schemas.Line{}, v.Items...)
			change(&c)
			if cart.DigestOf(c) == cart.DigestOf(v.Cart) {
				t.Error("the digest is the same")
			}
		})
	}
}

func TestDigestsComeInBoundedParts(t *testing.T) {
	s := oneShard(t)
	var users []string
	for u := range 600 {
		users = append(users, fmt.Sprint("u", u))
	}
	do(t, func() (cart.Result, error) { return s.Add(t.Context(), cart.Request{User: "u599"}, "emma", 2) })
	seen := 0
	for seen < len(users) {
		d, err := s.Digests(t.Context(), 0, users[seen:])
		if err != nil || len(d) == 0 || len(d) == len(users) {
			t.Fatalf("%d digests, %v", len(d), err)
		}
		if seen += len(d); seen == len(users) && d[len(d)-1].Version != 1 {
			t.Errorf("the last is %+v", d[len(d)-1])
		}
	}
}

func TestAChangedCartIsToldUntilItWasCompared(t *testing.T) {
	s := oneShard(t)
	for _, u := range []string{"u1", "u2"} {
		do(t, func() (cart.Result, error) { return s.Add(t.Context(), cart.Request{User: u}, "emma", 2) })
	}
	changed := func(now time.Time) int {
		users, err := s.Changed(t.Context(), 0, now, 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(users)
	}
	later := time.Now().Add(90 * time.Second)
	if now, soon := changed(time.Now()), changed(later); now != 0 || soon != 2 {
		t.Fatalf("%d carts now and %d later, want 0 and 2", now, soon)
	}
	if err := s.Compared(t.Context(), 0, time.Now(), []string{"u1"}); err != nil {
		t.Fatal(err)
	}
	if soon := changed(later); soon != 2 {
		t.Fatalf("what changed after it was looked at is forgotten: %d carts", soon)
	}
	if err := s.Compared(t.Context(), 0, later, []string{"u1"}); err != nil {
		t.Fatal(err)
	}
	if users, err := s.Changed(t.Context(), 0, later, 10); err != nil || len(users) != 1 || users[0] != "u2" {
		t.Fatalf("%v, %v", users, err)
	}
}

func TestACopyThatIsAheadIsAdopted(t *testing.T) {
	at := schemas.Milliseconds(1795341600000)
	line := schemas.Line{BookID: "faust", Title: "Faust", UnitPrice: 900, Quantity: 2, LineTotal: 1800, Availability: schemas.Available}
	copied := func(epoch, version int64) schemas.Cart {
		return schemas.Cart{UserID: "u1", Epoch: epoch, Version: version, Currency: "EUR", Items: []schemas.Line{line},
			Totals: schemas.Sum([]schemas.Line{line}), UpdatedAt: &at}
	}
	for claim, c := range map[string]struct {
		adds    int
		version func(held cart.Digest) (epoch, version int64)
		late    bool // the cart changed after it was looked at
		want    int64
	}{
		"where there is no cart":               {0, func(cart.Digest) (int64, int64) { return 5, 7 }, false, 8},
		"of the same epoch":                    {2, func(d cart.Digest) (int64, int64) { return d.Epoch, 7 }, false, 8},
		"of a higher epoch, at a lower number": {2, func(d cart.Digest) (int64, int64) { return d.Epoch + 1, 1 }, false, 3},
		"not one of the same version":          {2, func(d cart.Digest) (int64, int64) { return d.Epoch, 2 }, false, 0},
		"not an older one":                     {2, func(d cart.Digest) (int64, int64) { return d.Epoch - 1, 9 }, false, 0},
		"not after the cart has changed":       {2, func(d cart.Digest) (int64, int64) { return d.Epoch, 7 }, true, 0},
	} {
		t.Run(claim, func(t *testing.T) {
			s, r := oneShard(t), cart.Request{User: "u1"}
			for range c.adds {
				do(t, func() (cart.Result, error) { return s.Add(t.Context(), r, "emma", 1) })
			}
			saw := digest(t, s, "u1")
			if c.late {
				do(t, func() (cart.Result, error) { return s.Add(t.Context(), r, "emma", 1) })
			}
			before, err := s.Get(t.Context(), "u1")
			if err != nil {
				t.Fatal(err)
			}
			took, err := s.Adopt(t.Context(), copied(c.version(saw)), saw)
			if err != nil || took != (c.want > 0) {
				t.Fatalf("%v, %v", took, err)
			}
			v, err := s.Get(t.Context(), "u1")
			if err != nil {
				t.Fatal(err)
			}
			entries, err := cart.Backlog(t.Context(), s, "u1")
			if err != nil {
				t.Fatal(err)
			}
			if !took {
				if v.Version != before.Version || len(entries) != int(before.Version) {
					t.Fatalf("%+v, then %+v, %d entries", before, v, len(entries))
				}
				return
			}
			if v.Version != c.want || v.Epoch != v.Generation || len(v.Items) != 1 || v.Items[0].BookID != "faust" || v.Totals != schemas.Sum(v.Items) {
				t.Fatalf("%+v, want version %d", v, c.want)
			}
			last, err := schemas.DecodeCartChanged(entries[len(entries)-1].Value)
			if err != nil || last.Type != schemas.Restored || !last.Whole || last.Version != c.want || len(last.Items) != 1 {
				t.Fatalf("%+v, %v", last, err)
			}
			for book, want := range map[string]int{"emma": 0, "faust": 1} {
				if holders, err := cart.Holders(t.Context(), s, "u1", book); err != nil || len(holders) != want {
					t.Errorf("%s is held by %v, %v", book, holders, err)
				}
			}
			if contact, err := s.Contact(t.Context(), "u1"); err != nil || c.adds == 0 && contact.At != at || c.adds > 0 && contact.Version != 2 {
				t.Errorf("the user's own last change: %+v, %v", contact, err)
			}
			if d := digest(t, s, "u1"); d != cart.DigestOf(v.Cart) {
				t.Errorf("digest %+v of %+v", d, v.Cart)
			}
		})
	}
}

// Redis and a copy tell of a cart in the same way, however much it holds.
func TestLongCartsHaveTheDigestsOfTheirCopies(t *testing.T) {
	for claim, c := range map[string]struct {
		lines, title int
		mail         string
		whole        bool
	}{
		"one line":                             {1, 20, "", true},
		"some lines":                           {5, 20, "u1@example.com", true},
		"a long title":                         {1, 500, "", false},
		"as many lines as are put together":    {9, 20, "u1@example.com", true},
		"more, that are short":                 {12, 1, "u1@example.com", true},
		"a long address beside little":         {2, 20, strings.Repeat("u", 600) + "@example.com", true},
		"many lines":                           {60, 30, "u1@example.com", false},
		"so many that Redis keeps them hashed": {200, 30, "", false},
	} {
		t.Run(claim, func(t *testing.T) {
			catalogue := shelf{}
			for i := range c.lines {
				id := fmt.Sprint("b", i)
				catalogue[id] = schemas.Book{BookID: id, Title: strings.Repeat("t", c.title-1) + "é", UnitPrice: int64(100 + i), Status: schemas.Available, Version: int64(1 + i)}
			}
			s := open(t, func(o *cart.Options) { o.Shards, o.Catalogue, o.Limits.Lines = 1, catalogue, 500 }, enginetest.Redis(t))
			raise(t, s, cart.Ready)
			for i := range c.lines {
				do(t, func() (cart.Result, error) {
					return s.Add(t.Context(), cart.Request{User: "u1", Email: c.mail}, fmt.Sprint("b", i), 2)
				})
			}
			if c.lines > 1 { // goes last, in a place that Redis may keep
				do(t, func() (cart.Result, error) { return s.Remove(t.Context(), cart.Request{User: "u1"}, "b0") })
				do(t, func() (cart.Result, error) { return s.Add(t.Context(), cart.Request{User: "u1"}, "b0", 1) })
			}
			v, err := s.Get(t.Context(), "u1")
			if err != nil {
				t.Fatal(err)
			}
			d := digest(t, s, "u1")
			if want := cart.DigestOf(v.Cart); d != want {
				t.Fatalf("%+v, want %+v", d, want)
			}
			whole, ok := s.Whole("u1", d)
			if ok != c.whole || ok && !reflect.DeepEqual(whole, v.Cart) {
				t.Errorf("the digest is the cart: %v, %+v, want %v, %+v", ok, whole, c.whole, v.Cart)
			}
		})
	}
	if whole, ok := oneShard(t).Whole("u1", cart.Digest{}); ok {
		t.Errorf("no cart is %+v", whole)
	}
}
