package booksync

import (
	"log/slog"
	"time"

	"cartstream/api/cart"
)

// journal says when all walks over a book's holders on one server ended, as far as this process took part.
type journal struct {
	log      *slog.Logger
	meter    *meter
	versions *versions
	server   string
	going    map[string]*going // by book
}

type going struct {
	began time.Time
	carts int
	took  bool // this process took a step
	walks int  // that wait
}

func newJournal(log *slog.Logger, m *meter, v *versions, server string) *journal {
	return &journal{log: log, meter: m, versions: v, server: server, going: map[string]*going{}}
}

// open notes the walks that a look found: all that there are.
func (j *journal) open(queues []*queue) {
	for _, g := range j.going {
		g.walks = 0
	}
	for _, q := range queues {
		for _, book := range q.books {
			if j.going[book] == nil {
				j.going[book] = &going{began: time.Now()}
			}
			j.going[book].walks++
		}
	}
	j.close()
}

func (j *journal) step(book string, s cart.Step) {
	g := j.going[book]
	if g == nil {
		return
	}
	g.carts += s.Changed
	switch s.State {
	case cart.WalkOn:
		g.took = true
	case cart.WalkDone:
		g.took = true
		g.walks--
	case cart.WalkBusy, cart.WalkPaused, cart.WalkUnknown:
	}
}

// close reports what ended.
func (j *journal) close() {
	for book, g := range j.going {
		if g.walks > 0 {
			continue
		}
		delete(j.going, book)
		if !g.took {
			continue
		}
		took := time.Since(g.began)
		j.meter.walks.Observe(took.Seconds())
		attrs := []any{"book", book, "carts", g.carts, "duration", took}
		if version := j.versions.get(book); version > 0 {
			attrs = append(attrs, "version", version)
		}
		if j.server != "" {
			attrs = append(attrs, "server", j.server)
		}
		j.log.Info("carts follow their book", attrs...)
	}
}
