package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// patience is how long an engine may take to answer an ops call.
const patience = 10 * time.Second

// Carts reads carts from Redis.
type Carts interface {
	// Get returns the cart under the (epoch, version) of its own last change.
	Get(ctx context.Context, user string) (cart.View, error)
}

// CartRoutes show a cart as Redis and MongoDB have it, and make MongoDB equal to Redis. documents must be read from the
// primary. An error of sync that hasn't schemas.ErrUnavailable in its chain is an internal one.
func CartRoutes(carts Carts, documents *mongo.Collection, sync func(ctx context.Context, user string) error) []Route {
	c := &compared{carts, documents, sync}
	return []Route{
		{"GET /admin/carts/{userId}", c.show},
		{"POST /admin/carts/{userId}/sync", c.equal},
	}
}

type compared struct {
	carts     Carts
	documents *mongo.Collection
	sync      func(context.Context, string) error
}

// show answers with both carts. MongoDB is read first: of a cart that changes meanwhile, Redis has the newer, never the
// other way round. A document that can't be read is shown as none, and is not in sync.
func (c *compared) show(w http.ResponseWriter, r *http.Request) error {
	user, err := userOf(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	answer := struct {
		UserID  string        `json:"userId"`
		Redis   *schemas.Cart `json:"redis"`
		MongoDB *schemas.Cart `json:"mongodb"`
		InSync  bool          `json:"inSync"`
	}{UserID: user}
	answer.MongoDB, err = c.document(ctx, user)
	unreadable := errors.Is(err, errUnreadable)
	if err != nil && !unreadable {
		return err
	}
	view, err := c.carts.Get(ctx, user)
	if err != nil {
		return fmt.Errorf("compare the cart of %s: %w", user, err)
	}
	if view.Exists() {
		answer.Redis = &view.Cart
	}
	answer.InSync = !unreadable && same(answer.Redis, answer.MongoDB)
	Answer(w, http.StatusOK, answer)
	return nil
}

// errUnreadable says that a document is no cart, as after an edit by hand.
var errUnreadable = errors.New("the document can't be read")

// document returns the cart that MongoDB has, nil for none.
func (c *compared) document(ctx context.Context, user string) (*schemas.Cart, error) {
	raw, err := c.documents.FindOne(ctx, bson.D{{Key: "_id", Value: user}}).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil //nolint:nilnil // both say what they are
	}
	if err != nil {
		return nil, fmt.Errorf("read the stored cart of %s: %w: %w", user, schemas.ErrUnavailable, err)
	}
	var stored schemas.Cart
	if err := bson.Unmarshal(raw, &stored); err != nil {
		return nil, fmt.Errorf("the stored cart of %s: %w: %w", user, errUnreadable, err)
	}
	if stored.Items == nil {
		stored.Items = []schemas.Line{}
	}
	return &stored, nil
}

// same reports whether both are the same cart after the same change.
func same(a, b *schemas.Cart) bool {
	if a == nil || b == nil {
		return a == b
	}
	return bytes.Equal(schemas.EncodeCart(*a), schemas.EncodeCart(*b))
}

// equal answers once MongoDB has what Redis had.
func (c *compared) equal(w http.ResponseWriter, r *http.Request) error {
	user, err := userOf(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), 3*patience)
	defer cancel()
	if err := c.sync(ctx, user); err != nil {
		return fmt.Errorf("sync the cart of %s: %w", user, err)
	}
	Answer(w, http.StatusAccepted, struct {
		UserID string `json:"userId"`
	}{user})
	return nil
}

// userOf returns the path's user.
func userOf(r *http.Request) (string, error) {
	user := r.PathValue("userId")
	if !schemas.ValidID(user) {
		return "", BadRequest("userId", "must be 1 to 64 of A-Z a-z 0-9 . _ : @ -")
	}
	return user, nil
}
