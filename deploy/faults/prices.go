package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"
)

// prices are the shop's own changes: of prices, titles and stock.
type prices struct {
	random  *rand.Rand
	changes atomic.Int64
}

func newPrices(random *rand.Rand) *prices { return &prices{random: random} }

// run changes one book after the other until ctx ends. What became of a call doesn't matter: in the end carts are
// compared with the catalogue as it then is.
func (p *prices) run(ctx context.Context, l *load) {
	for n := 0; ; n++ {
		book, api := bookID(p.random.IntN(books)), p.random.IntN(apis)
		price, kind := 500+p.random.IntN(5000), p.random.IntN(10)
		if pause(ctx, time.Duration(p.random.Int64N(int64(800*time.Millisecond)))) != nil {
			return
		}
		c := call{method: http.MethodPatch, path: "/v1/books/" + book, body: fmt.Sprintf(`{"unitPrice":%d}`, price)}
		switch kind {
		case 0:
			c.body = `{"stock":0}`
		case 1, 2, 3:
			c.body = `{"stock":7}`
		case 4:
			c.method, c.body = http.MethodPut, fmt.Sprintf(`{"title":"Volume %d","author":"Anonymous","unitPrice":%d,"stock":9}`, n, price)
		}
		if a, err := send(context.WithoutCancel(ctx), l.stack.apis[api].addr, l.boss, c); err == nil && a.status == http.StatusOK {
			p.changes.Add(1)
		}
	}
}
