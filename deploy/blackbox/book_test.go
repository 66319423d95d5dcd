package blackbox

import (
	"fmt"
	"net/http"
	"testing"

	"cartstream/deploy/outside"
	"cartstream/schemas"
)

// admin changes the catalogue. Where MongoDB was too slow it says the same again, which changes nothing if it was heard.
func (s *stack) admin(t *testing.T, method, book, body string) {
	t.Helper()
	eventually(t, method+" of book "+book, func() error {
		a, err := send(t.Context(), s.apis[0].addr, token("boss", "admin"), call{method: method, path: "/v1/books/" + book, body: body})
		switch {
		case err != nil:
			return err
		case a.status == http.StatusServiceUnavailable:
			return fmt.Errorf("%s", a.body)
		case a.status/100 != 2:
			t.Fatalf("%s of book %s: %d %s", method, book, a.status, a.body)
		}
		return nil
	})
}

// customer is one user on one instance.
type customer struct {
	t    *testing.T
	s    *stack
	name string
}

// does makes a call that must be answered with that status, and with that problem unless it is "".
func (c customer) does(call call, status int, problem string) {
	c.t.Helper()
	a, err := send(c.t.Context(), c.s.apis[0].addr, token(c.name, ""), call)
	if err != nil {
		c.t.Fatal(err)
	}
	if slug, _ := a.problem(); a.status != status || problem != "" && slug != problem {
		c.t.Fatalf("%s %s: %d %s, want %d %s", call.method, call.path, a.status, a.body, status, problem)
	}
}

// sees waits until the cart is one line of that description: "<quantity> × <unit price> (was <previous>), <availability>:
// <line total> of <amount>, <quantity>, <lines>".
func (c customer) sees(want string) schemas.Cart {
	c.t.Helper()
	var cart schemas.Cart
	eventually(c.t, "the cart of "+c.name, func() (err error) {
		if cart, err = getCart(c.t.Context(), c.s.apis[0].addr, c.name); err != nil {
			return err
		}
		if got := describe(cart); got != want {
			return fmt.Errorf("it is %q, want %q", got, want)
		}
		return nil
	})
	return cart
}

func describe(c schemas.Cart) string {
	if len(c.Items) != 1 {
		return fmt.Sprintf("%d lines", len(c.Items))
	}
	l, was := c.Items[0], ""
	if l.PreviousUnitPrice != nil {
		was = fmt.Sprintf(" (was %d)", *l.PreviousUnitPrice)
	}
	return fmt.Sprintf("%d × %d%s, %s: %d of %d, %d, %d", l.Quantity, l.UnitPrice, was, l.Availability, l.LineTotal,
		c.TotalAmount, c.TotalQuantity, c.LineCount)
}

func TestALineFollowsItsBook(t *testing.T) {
	s := start(t, options{apis: 1, consumers: 1})
	createBooks(t, s, func(int) string { return "Emma" }, 1)
	const book = "book-000"
	anna := customer{t, s, "anna"}
	devices := []*outside.Device{follow(t, "anna", s.apis[0].addr)}
	acknowledge := call{method: "POST", path: "/v1/cart/items/" + book + "/acknowledge"}

	anna.does(addItem(book, 2), http.StatusOK, "")
	anna.sees("2 × 100, available: 200 of 200, 2, 1")

	// The price rises: both are shown until she has seen it.
	s.admin(t, "PATCH", book, `{"unitPrice":150}`)
	anna.sees("2 × 150 (was 100), available: 300 of 300, 2, 1")
	anna.does(acknowledge, http.StatusOK, "")
	anna.sees("2 × 150, available: 300 of 300, 2, 1")

	// It changes twice: the oldest that she hasn't seen go stays, until the price returns to it.
	s.admin(t, "PATCH", book, `{"unitPrice":170}`)
	anna.sees("2 × 170 (was 150), available: 340 of 340, 2, 1")
	s.admin(t, "PATCH", book, `{"unitPrice":180}`)
	anna.sees("2 × 180 (was 150), available: 360 of 360, 2, 1")
	s.admin(t, "PATCH", book, `{"unitPrice":150}`)
	anna.sees("2 × 150, available: 300 of 300, 2, 1")

	// Who changes the line has seen it.
	s.admin(t, "PATCH", book, `{"unitPrice":160}`)
	anna.sees("2 × 160 (was 150), available: 320 of 320, 2, 1")
	anna.does(setItem(book, 3), http.StatusOK, "")
	anna.sees("3 × 160, available: 480 of 480, 3, 1")

	// Out of stock: visible, out of totals, can be lowered, not raised.
	s.admin(t, "PATCH", book, `{"stock":0}`)
	anna.sees("3 × 160, out_of_stock: 480 of 0, 0, 1")
	anna.does(addItem(book, 1), http.StatusConflict, "book-unavailable")
	anna.does(setItem(book, 4), http.StatusConflict, "book-unavailable")
	anna.does(setItem(book, 2), http.StatusOK, "")
	customer{t, s, "berta"}.does(addItem(book, 1), http.StatusConflict, "book-unavailable")
	s.admin(t, "PATCH", book, `{"stock":9}`)
	anna.sees("2 × 160, available: 320 of 320, 2, 1")

	// Fewer in stock is nothing to see, a new title is.
	before := anna.sees("2 × 160, available: 320 of 320, 2, 1")
	s.admin(t, "PATCH", book, `{"stock":8}`)
	s.admin(t, "PATCH", book, `{"title":"Emma, revised"}`)
	eventually(t, "the title", func() error {
		c, err := getCart(t.Context(), s.apis[0].addr, "anna")
		if err == nil && c.Items[0].Title != "Emma, revised" {
			err = fmt.Errorf("it is %q", c.Items[0].Title)
		}
		if err == nil && c.Version != before.Version+1 {
			t.Fatalf("version %d after %d", c.Version, before.Version)
		}
		return err
	})

	// Discontinued, and back.
	s.admin(t, "DELETE", book, "")
	anna.sees("2 × 160, discontinued: 320 of 0, 0, 1")
	anna.does(addItem(book, 1), http.StatusConflict, "book-unavailable")
	s.admin(t, "PUT", book, `{"title":"Emma","author":"Jane Austen","unitPrice":140,"stock":1}`)
	anna.sees("2 × 140 (was 160), available: 280 of 280, 2, 1")
	s.admin(t, "DELETE", book, "")
	anna.sees("2 × 140 (was 160), discontinued: 280 of 0, 0, 1")
	anna.does(call{method: "DELETE", path: "/v1/cart/items/" + book}, http.StatusOK, "")
	anna.sees("0 lines")

	told := settled(t, s, []string{"anna"}, devices)["anna"]
	kinds := map[schemas.EventType]int{}
	for _, c := range told.changes {
		kinds[c.Type]++
		if c.Type == schemas.BookChangedInCart && (len(c.Items) != 1 || c.Items[0].BookID != book) {
			t.Errorf("a book_changed of %+v", c.Items)
		}
	}
	// 150, 170, 180, 150, 160, out, back, title, discontinued, back, discontinued.
	if kinds[schemas.BookChangedInCart] != 11 || kinds[schemas.ItemAcknowledged] != 1 {
		t.Errorf("events: %v", kinds)
	}
}
