package cart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"cartstream/schemas"
)

// A read takes a plain HGETALL and, behind it on the same connection, a script that tells whether the generation still is the
// one that it was before: Lua takes longer to pass on a hash than Redis to read it. What the hash held then is what it held
// under that generation, since generations only rise and a shard that was left never comes back under the same one. A hash
// that isn't there says nothing of a shard that still lacks carts; read.lua, which looks at both in one step, does.

// read returns the user's cart and the shard's generation, where a plain read can tell. What it can't, ok false, read.lua can: of a
// shard whose generation or node is another now, and of a cart that isn't there in a shard that lost its data. The error is an
// *Unavailable, or says that what Redis holds can't be read.
func (s *Store) read(ctx context.Context, user string) (v View, ok bool, err error) {
	shard := s.nodes.shardOf(user)
	failed := func(err error) (View, bool, error) {
		return View{}, false, unavailable("", fmt.Errorf("read the cart of %s: %w", user, err))
	}
	l, err := s.look(ctx, shard)
	if err != nil {
		return failed(err)
	}
	client, err := s.nodes.node(ctx, shard)
	if err != nil {
		return failed(err)
	}
	whole := s.shards[shard].whole.Load() == l
	hash := redis.NewRawCmd(context.Background(), "HGETALL", s.nodes.cart(shard, user))
	state, err := s.door(client).behind(ctx, hash, []any{"EVALSHA", l.sha[scriptOpen], 1, s.nodes.generation(shard)})
	var refused redis.Error
	switch {
	case errors.As(err, &refused), err == nil && state != string(Ready) && state != string(Lost):
		return View{}, false, nil
	case err != nil:
		return failed(err)
	}
	if state == string(Ready) && !whole {
		s.shards[shard].whole.Store(l)
	}
	c, fields, err := readHash(user, s.Currency, hash.Val())
	if err != nil {
		return View{}, false, err
	}
	return View{Cart: c, Generation: l.Number}, fields > 0 || whole && fields == 0, nil
}

// readHash reads a reply to HGETALL as it came. fields is -1 where it is no such reply.
func readHash(user, currency string, reply []byte) (c schemas.Cart, fields int, err error) {
	head, rest, found := bytes.Cut(reply, []byte("\r\n"))
	if !found {
		return c, -1, nil
	}
	n, err := strconv.Atoi(string(head[1:]))
	switch {
	case err != nil:
		return c, -1, nil
	case head[0] == '*':
		n /= 2
	case head[0] != '%':
		return c, -1, nil
	}
	all := string(rest)
	r := newCartReader(user, currency, n)
	for range n {
		field, after, ok := bulk(all)
		value, after, ok2 := bulk(after)
		if !ok || !ok2 {
			return c, -1, nil
		}
		r.take(field, value)
		all = after
	}
	c, err = r.done()
	return c, n, err
}

// bulk takes "$<length>\r\n<text>\r\n" off.
func bulk(reply string) (text, rest string, ok bool) {
	length, rest, ok := strings.Cut(reply, "\r\n")
	if !ok || length[0] != '$' {
		return "", "", false
	}
	n, err := strconv.Atoi(length[1:])
	if err != nil || n < 0 || len(rest) < n+2 {
		return "", "", false
	}
	return rest[:n], rest[n+2:], true
}

// cartReader puts a cart together from the fields of its hash, in any order.
type cartReader struct {
	cart   schemas.Cart
	places []int64 // of the items
	err    error
}

func newCartReader(user, currency string, fields int) *cartReader {
	return &cartReader{
		cart:   schemas.Cart{UserID: user, Currency: currency, Items: make([]schemas.Line, 0, fields)},
		places: make([]int64, 0, fields),
	}
}

func (c *cartReader) take(field, value string) {
	r := reader{rest: value}
	switch field {
	case headField:
		c.cart.Epoch, c.cart.Version, c.cart.Totals = r.number(), r.number(), r.totals()
		r.number() // the next line's place
		if at := schemas.Milliseconds(r.number()); c.cart.Version > 0 {
			c.cart.UpdatedAt = &at
		}
	case ownField, addressField: // see readContact
	default:
		line, place := r.line(field)
		c.cart.Items, c.places = append(c.cart.Items, line), append(c.places, place)
	}
	if r.err != nil && c.err == nil {
		c.err = fmt.Errorf("cart of %s, field %s: %w", c.cart.UserID, field, r.err)
	}
}

// done returns the cart, its lines in their order.
func (c *cartReader) done() (schemas.Cart, error) {
	if c.err != nil {
		return schemas.Cart{}, c.err
	}
	if !slices.IsSorted(c.places) { // Redis keeps the order of a short hash
		sort.Sort((*byPlace)(c))
	}
	return c.cart, nil
}

type byPlace cartReader

func (c *byPlace) Len() int           { return len(c.places) }
func (c *byPlace) Less(i, j int) bool { return c.places[i] < c.places[j] }
func (c *byPlace) Swap(i, j int) {
	c.places[i], c.places[j] = c.places[j], c.places[i]
	c.cart.Items[i], c.cart.Items[j] = c.cart.Items[j], c.cart.Items[i]
}
