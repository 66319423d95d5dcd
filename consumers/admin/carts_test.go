package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"cartstream/api/cart"
	"cartstream/consumers/admin"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
	"cartstream/schemas/env"
)

// redisCarts are the carts in a Redis; a user who is in none has no cart.
type redisCarts map[string]cart.View

func (c redisCarts) Get(_ context.Context, user string) (cart.View, error) {
	if user == "fenced" {
		return cart.View{}, &cart.Unavailable{RetryAfter: 2 * time.Second, Err: errors.New("shard is recovering")}
	}
	return c[user], nil
}

func collection(t *testing.T, uri string) *mongo.Collection {
	t.Helper()
	db, err := (&env.MongoDB{URI: env.Secret(uri)}).Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Client().Disconnect(context.Background()) })
	return db.Collection("carts")
}

func cartOf(user string, epoch, version, quantity int64) schemas.Cart {
	line := schemas.Line{BookID: "b1", Title: "Emma", UnitPrice: 1299, Quantity: quantity, LineTotal: 1299 * quantity, Availability: schemas.Available}
	at := schemas.Milliseconds(1_790_000_000_000)
	return schemas.Cart{UserID: user, Epoch: epoch, Version: version, Currency: "EUR", Items: []schemas.Line{line},
		Totals: schemas.Sum([]schemas.Line{line}), UpdatedAt: &at}
}

type comparison struct {
	UserID         string
	Redis, MongoDB *schemas.Cart
	InSync         bool
}

func decode[T any](t *testing.T, w *httptest.ResponseRecorder, status int) (body T) {
	t.Helper()
	if w.Code != status {
		t.Fatalf("%d %s, want %d", w.Code, w.Body, status)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatal(err)
	}
	return body
}

func TestACartIsShownAsBothStoresHaveIt(t *testing.T) {
	documents := collection(t, enginetest.Mongo(t))
	inRedis := redisCarts{}
	o := serve(t, admin.CartRoutes(inRedis, documents, nil)...)
	empty := cartOf("empty", 5, 4, 0)
	empty.Items, empty.Totals = []schemas.Line{}, schemas.Totals{}
	none := empty
	none.UserID, none.Items = "none", nil
	for user, c := range map[string]struct {
		redis, mongo *schemas.Cart
		inSync       bool
	}{
		"nobody":    {nil, nil, true},
		"equal":     {p(cartOf("equal", 5, 3, 1)), p(cartOf("equal", 5, 3, 1)), true},
		"empty":     {&empty, &empty, true},
		"none":      {p(cartOf("none", 5, 3, 1)), &none, false},
		"a:b@c.d_e": {p(cartOf("a:b@c.d_e", 5, 3, 1)), p(cartOf("a:b@c.d_e", 5, 3, 1)), true},
		"..":        {p(cartOf("..", 5, 3, 1)), p(cartOf("..", 5, 3, 1)), true},
		".":         {p(cartOf(".", 5, 3, 1)), nil, false},
		"behind":    {p(cartOf("behind", 5, 4, 1)), p(cartOf("behind", 5, 3, 1)), false},
		"ahead":     {p(cartOf("ahead", 5, 3, 1)), p(cartOf("ahead", 6, 3, 1)), false},
		"other":     {p(cartOf("other", 5, 3, 1)), p(cartOf("other", 5, 3, 2)), false},
		"unstored":  {p(cartOf("unstored", 5, 3, 1)), nil, false},
		"orphan":    {nil, p(cartOf("orphan", 5, 3, 1)), false},
	} {
		t.Run(user, func(t *testing.T) {
			if c.redis != nil {
				inRedis[user] = cart.View{Cart: *c.redis, Generation: 9}
			}
			if c.mongo != nil {
				if _, err := documents.InsertOne(t.Context(), c.mongo); err != nil {
					t.Fatal(err)
				}
			}
			got := decode[comparison](t, o.call(t, "GET", "/admin/carts/"+user, ""), 200)
			if got.UserID != user || got.InSync != c.inSync || (got.Redis == nil) != (c.redis == nil) || (got.MongoDB == nil) != (c.mongo == nil) {
				t.Fatalf("got %+v", got)
			}
			if got.Redis != nil && (got.Redis.Epoch != c.redis.Epoch || got.Redis.Version != c.redis.Version || got.Redis.TotalAmount != c.redis.TotalAmount) {
				t.Errorf("redis %+v", got.Redis)
			}
			if got.MongoDB != nil && (got.MongoDB.Epoch != c.mongo.Epoch || got.MongoDB.Items == nil || len(got.MongoDB.Items) != len(c.mongo.Items)) {
				t.Errorf("mongodb %+v", got.MongoDB)
			}
		})
	}
	t.Run("a document that can't be read is none, and not in sync", func(t *testing.T) {
		if _, err := documents.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "odd"}, {Key: "version", Value: "seven"}}); err != nil {
			t.Fatal(err)
		}
		for range 2 { // without a cart in Redis, and with one
			got := decode[comparison](t, o.call(t, "GET", "/admin/carts/odd", ""), 200)
			if _, has := inRedis["odd"]; got.InSync || got.MongoDB != nil || (got.Redis != nil) != has {
				t.Errorf("got %+v", got)
			}
			inRedis["odd"] = cart.View{Cart: cartOf("odd", 5, 3, 1), Generation: 9}
		}
	})
	t.Run("an id that can't be one", func(t *testing.T) {
		for _, id := range []string{"a%20b", "a%2Fb", "%C3%A4", "x234567890123456789012345678901234567890123456789012345678901234-"} {
			for _, call := range [][2]string{{"GET", ""}, {"POST", "/sync"}} {
				got := refused(t, o.call(t, call[0], "/admin/carts/"+id+call[1], ""), 400, "invalid-request")
				if len(got.Errors) != 1 || got.Errors[0].Field != "userId" {
					t.Errorf("faults %v", got.Errors)
				}
			}
		}
	})
	t.Run("a shard that is recovering", func(t *testing.T) {
		w := o.call(t, "GET", "/admin/carts/fenced", "")
		refused(t, w, 503, "unavailable")
		if w.Header().Get("Retry-After") != "2" {
			t.Errorf("headers %v", w.Header())
		}
	})
}

func p[T any](v T) *T { return &v }

func TestWithoutMongoDBNoCartIsCompared(t *testing.T) {
	o := serve(t, admin.CartRoutes(redisCarts{}, collection(t, "mongodb://127.0.0.1:1/away?serverSelectionTimeoutMS=50"), nil)...)
	refused(t, o.call(t, "GET", "/admin/carts/u1", ""), 503, "unavailable")
}

func TestASyncIsAnsweredOnceItIsDone(t *testing.T) {
	synced := ""
	sync := func(_ context.Context, user string) error {
		if synced = user; user == "away" {
			return fmt.Errorf("write: %w", schemas.ErrUnavailable)
		}
		return nil
	}
	o := serve(t, admin.CartRoutes(redisCarts{}, nil, sync)...)
	if w := o.call(t, "POST", "/admin/carts/u1/sync", ""); w.Code != 202 || synced != "u1" {
		t.Errorf("%d %s, synced %q", w.Code, w.Body, synced)
	}
	if got := refused(t, o.call(t, "POST", "/admin/carts/away/sync", ""), 503, "unavailable"); got.Applied != "unknown" {
		t.Errorf("applied %q", got.Applied)
	}
}
