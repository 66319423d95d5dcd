package reminder

import (
	"context"
	"sync"
	"testing"
	"time"

	"cartstream/api/cart"
	"cartstream/deploy/enginetest"
	"cartstream/schemas"
	"cartstream/schemas/env"
)

func TestWhatWasSentNeverGoesBack(t *testing.T) {
	settings := env.MongoDB{URI: env.Secret(enginetest.Mongo(t))}
	db, err := settings.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Client().Disconnect(context.Background()) })
	s := newStore(db)
	tags := []cart.Tag{{Epoch: 5, Version: 3}, {Epoch: 5, Version: 7}, {Epoch: 5, Version: 6}, {Epoch: 4, Version: 9}, {Epoch: 6, Version: 1}, {Epoch: 5, Version: 8}}
	newest := []cart.Tag{tags[0], tags[1], tags[1], tags[1], tags[4], tags[4]}
	keep := func(user string, tag cart.Tag) {
		if err := s.keep(t.Context(), schemas.Reminder{UserID: user, Epoch: tag.Epoch, Version: tag.Version}, time.Now()); err != nil {
			t.Error(err)
		}
	}
	is := func(user string, want cart.Tag) {
		t.Helper()
		if got, err := s.last(t.Context(), user); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", user, got, err, want)
		}
	}
	is("u1", cart.Tag{})
	for i, tag := range tags {
		keep("u1", tag)
		is("u1", newest[i])
	}
	t.Run("whoever is first", func(t *testing.T) {
		var all sync.WaitGroup
		for _, tag := range tags {
			all.Go(func() { keep("u2", tag) })
		}
		all.Wait()
		is("u2", tags[4])
	})
}
