package schemas

// EventType says what changed a cart.
type EventType string

// The types of a CartChanged. Merged and CheckedOut are reserved: nothing emits them yet.
const (
	ItemAdded         EventType = "item_added"
	ItemSet           EventType = "item_set"
	ItemRemoved       EventType = "item_removed"
	ItemAcknowledged  EventType = "item_acknowledged"
	Cleared           EventType = "cleared"
	BookChangedInCart EventType = "book_changed"
	Restored          EventType = "restored"
	Merged            EventType = "merged"
	CheckedOut        EventType = "checked_out"
)

// Availability of a book, and of the line that holds it.
type Availability string

// A line that is not Available stays in the cart but counts neither in TotalAmount nor in TotalQuantity.
const (
	Available    Availability = "available"
	OutOfStock   Availability = "out_of_stock"
	Discontinued Availability = "discontinued"
)

// Line is one book in a cart. Money is in minor units of the cart's currency.
type Line struct {
	BookID    string `json:"bookId" bson:"bookId"`
	Title     string `json:"title" bson:"title"`
	UnitPrice int64  `json:"unitPrice" bson:"unitPrice"`
	// PreviousUnitPrice is the oldest price that the user has not seen yet replaced; absent where there is none.
	PreviousUnitPrice *int64 `json:"previousUnitPrice,omitempty" bson:"previousUnitPrice,omitempty"`
	// Quantity is 0 only in a change, where it says that the line is gone.
	Quantity     int64        `json:"quantity" bson:"quantity"`
	LineTotal    int64        `json:"lineTotal" bson:"lineTotal"`
	Availability Availability `json:"availability" bson:"availability"`
}

// Totals of a cart: of its available lines, but for LineCount, which counts all.
type Totals struct {
	TotalAmount   int64 `json:"totalAmount" bson:"totalAmount"`
	TotalQuantity int64 `json:"totalQuantity" bson:"totalQuantity"`
	LineCount     int64 `json:"lineCount" bson:"lineCount"`
}

// CartChanged is one change of a cart: the body of a mutation's answer, the value in cart.events.v1 and the change in a
// WebSocket frame. Items holds the whole state after the change of each line that it touched.
type CartChanged struct {
	UserID  string    `json:"userId"`
	Epoch   int64     `json:"epoch"`
	Version int64     `json:"version"`
	Type    EventType `json:"type"`
	// Whole says that Items is the whole cart, besides lines of quantity 0.
	Whole bool   `json:"whole,omitempty"`
	Items []Line `json:"items"`
	Totals
	Currency   string `json:"currency"`
	OccurredAt Time   `json:"occurredAt"`
}

// Cart is a user's cart: GET /v1/cart, the value in cart.state.v1 and the document in MongoDB. Items stand in the order
// in which they were first added. UpdatedAt is absent for a user who never had a cart.
type Cart struct {
	UserID    string `json:"userId" bson:"_id"`
	Epoch     int64  `json:"epoch" bson:"epoch"`
	Version   int64  `json:"version" bson:"version"`
	Currency  string `json:"currency" bson:"currency"`
	Items     []Line `json:"items" bson:"items"`
	Totals    `bson:",inline"`
	UpdatedAt *Time `json:"updatedAt,omitempty" bson:"updatedAt,omitempty"`
}

// Outcome is what applying a change to a cart came to.
type Outcome int

const (
	// Stale changes are as old as the cart or older: nothing was changed.
	Stale Outcome = iota
	// Applied changes are now part of the cart.
	Applied
	// Gap says that a change between the cart and this one is missing: nothing was changed, read the whole cart.
	Gap
)

// Newer reports whether (epoch, version) comes after (thanEpoch, thanVersion).
func Newer(epoch, version, thanEpoch, thanVersion int64) bool {
	return epoch > thanEpoch || epoch == thanEpoch && version > thanVersion
}

// Apply brings the cart up to the change, where it is the next one or carries the whole cart. It is the one rule by
// which every consumer decides, so duplicates, reordering and losses end in the same state. The change's lines are
// copied, never shared.
func (c *Cart) Apply(ch CartChanged) Outcome {
	switch {
	case !Newer(ch.Epoch, ch.Version, c.Epoch, c.Version):
		return Stale
	case ch.Whole:
		c.Items = make([]Line, 0, len(ch.Items))
	case ch.Epoch != c.Epoch || ch.Version != c.Version+1:
		return Gap
	}
	for _, line := range ch.Items {
		c.put(line)
	}
	c.UserID, c.Epoch, c.Version, c.Currency, c.Totals = ch.UserID, ch.Epoch, ch.Version, ch.Currency, ch.Totals
	at := ch.OccurredAt
	c.UpdatedAt = &at
	return Applied
}

// put replaces the line of the same book in its place, drops it at quantity 0, or appends it.
func (c *Cart) put(line Line) {
	if line.PreviousUnitPrice != nil {
		previous := *line.PreviousUnitPrice
		line.PreviousUnitPrice = &previous
	}
	for i := range c.Items {
		if c.Items[i].BookID != line.BookID {
			continue
		}
		if line.Quantity == 0 {
			c.Items = append(c.Items[:i], c.Items[i+1:]...)
		} else {
			c.Items[i] = line
		}
		return
	}
	if line.Quantity > 0 {
		c.Items = append(c.Items, line)
	}
}

// Sum returns the totals that the lines should have.
func Sum(lines []Line) Totals {
	t := Totals{LineCount: int64(len(lines))}
	for _, l := range lines {
		if l.Availability == Available {
			t.TotalAmount += l.LineTotal
			t.TotalQuantity += l.Quantity
		}
	}
	return t
}
