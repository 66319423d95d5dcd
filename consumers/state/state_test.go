package state

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"

	"cartstream/api/cart"
	"cartstream/consumers/runner"
	"cartstream/schemas"
)

// shelf is carts in memory.
type shelf struct {
	carts map[string]cart.View
	away  error
	asked int
}

func (s *shelf) Get(_ context.Context, user string) (cart.View, error) {
	s.asked++
	return s.carts[user], s.away
}

func at(user string, epoch, version int64) cart.View {
	when := schemas.Milliseconds(1700000000000)
	return cart.View{Cart: schemas.Cart{UserID: user, Epoch: epoch, Version: version, Currency: "EUR", Items: []schemas.Line{}, UpdatedAt: &when}, Generation: epoch + 5}
}

func event(user string, epoch, version int64) runner.Record[schemas.CartChanged] {
	return runner.Record[schemas.CartChanged]{
		Record: &kgo.Record{Key: []byte(user), Headers: []kgo.RecordHeader{{Key: "traceparent", Value: []byte("00-trace")}}},
		Value:  schemas.CartChanged{UserID: user, Epoch: epoch, Version: version},
	}
}

func TestACartIsPublishedAfterItsOwnChange(t *testing.T) {
	for claim, c := range map[string]struct {
		stored cart.View
		events []runner.Record[schemas.CartChanged]
		want   int
	}{
		"where Redis holds that version":           {at("u1", 3, 7), []runner.Record[schemas.CartChanged]{event("u1", 3, 7)}, 1},
		"once where it changed twice":              {at("u1", 3, 7), []runner.Record[schemas.CartChanged]{event("u1", 3, 6), event("u1", 3, 7)}, 1},
		"once also where an older change repeats":  {at("u1", 3, 7), []runner.Record[schemas.CartChanged]{event("u1", 3, 7), event("u1", 3, 6)}, 1},
		"not where Redis is ahead":                 {at("u1", 3, 8), []runner.Record[schemas.CartChanged]{event("u1", 3, 7)}, 0},
		"not where Redis lost it":                  {at("u1", 3, 6), []runner.Record[schemas.CartChanged]{event("u1", 3, 7)}, 0},
		"not where the version is another epoch's": {at("u1", 4, 7), []runner.Record[schemas.CartChanged]{event("u1", 3, 7)}, 0},
	} {
		t.Run(claim, func(t *testing.T) {
			s := &shelf{carts: map[string]cart.View{"u1": c.stored}}
			got, err := Consumer(s, nobody, prometheus.NewRegistry()).Handle(t.Context(), c.events)
			if err != nil || len(got) != c.want || s.asked != 1 {
				t.Fatalf("%d records, %v, after %d reads; want %d after one", len(got), err, s.asked, c.want)
			}
		})
	}
}

// nobody is told of suspects.
func nobody(string) {}

func TestWhoeverRedisLacksAChangeOfIsSuspected(t *testing.T) {
	young := func(epoch, version int64) cart.View {
		v, now := at("u1", epoch, version), schemas.At(time.Now())
		v.UpdatedAt = &now
		return v
	}
	for claim, c := range map[string]struct {
		stored cart.View
		events []runner.Record[schemas.CartChanged]
		want   int
	}{
		"where Redis is a version behind":          {young(3, 6), []runner.Record[schemas.CartChanged]{event("u1", 3, 7)}, 1},
		"where it is an epoch behind":              {young(2, 9), []runner.Record[schemas.CartChanged]{event("u1", 3, 7)}, 1},
		"not where it is ahead":                    {young(3, 8), []runner.Record[schemas.CartChanged]{event("u1", 3, 7)}, 0},
		"not where it holds this very version":     {young(3, 7), []runner.Record[schemas.CartChanged]{event("u1", 3, 7)}, 0},
		"not where the difference is of long ago":  {at("u1", 3, 6), []runner.Record[schemas.CartChanged]{event("u1", 3, 7)}, 0},
		"once where two changes of a cart are new": {young(3, 5), []runner.Record[schemas.CartChanged]{event("u1", 3, 6), event("u1", 3, 7)}, 1},
	} {
		t.Run(claim, func(t *testing.T) {
			var named []string
			s := &shelf{carts: map[string]cart.View{"u1": c.stored}}
			_, err := Consumer(s, func(user string) { named = append(named, user) }, prometheus.NewRegistry()).Handle(t.Context(), c.events)
			if err != nil || len(named) != c.want || c.want > 0 && named[0] != "u1" {
				t.Fatalf("%v are named, %v; want %d", named, err, c.want)
			}
		})
	}
}

func TestAPublishedCartIsWhatTheContractSays(t *testing.T) {
	s := &shelf{carts: map[string]cart.View{"u1": at("u1", 3, 7)}}
	got, err := Consumer(s, nobody, prometheus.NewRegistry()).Handle(t.Context(), []runner.Record[schemas.CartChanged]{event("u1", 3, 7)})
	if err != nil {
		t.Fatal(err)
	}
	r := got[0]
	if c, err := schemas.DecodeCart(r.Value); err != nil || c.Epoch != 3 || c.Version != 7 || string(r.Key) != "u1" || r.Topic != "cart.state.v1" {
		t.Errorf("%s: key %s, value %s (%v)", r.Topic, r.Key, r.Value, err)
	}
	headers := map[string]string{}
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	for name, want := range map[string]string{
		"ce_id": "u1:3:7", "ce_type": "cart.state", "ce_subject": "u1", "ce_specversion": "1.0", "ce_time": "2023-11-14T22:13:20.000Z",
		"content-type": "application/json", "traceparent": "00-trace",
	} {
		if headers[name] != want {
			t.Errorf("%s is %q, want %q", name, headers[name], want)
		}
	}
}

func TestRedisAwayIsTriedAgain(t *testing.T) {
	s := &shelf{away: &cart.Unavailable{Err: errors.New("refused")}}
	_, err := Consumer(s, nobody, prometheus.NewRegistry()).Handle(t.Context(), []runner.Record[schemas.CartChanged]{event("u1", 3, 7)})
	if !errors.Is(err, schemas.ErrUnavailable) || runner.IsRefused(err) || runner.IsPermanent(err) {
		t.Fatalf("%v, want an error that is tried again", err)
	}
}

func TestACartThatCanNotBeReadCountsAgainstItsRecord(t *testing.T) {
	c := Consumer(&shelf{away: errors.New("no JSON")}, nobody, prometheus.NewRegistry())
	if _, err := c.Handle(t.Context(), []runner.Record[schemas.CartChanged]{event("u1", 3, 7)}); !runner.IsRefused(err) {
		t.Errorf("handle: %v", err)
	}
	if _, err := c.Heal(t.Context(), &kgo.Record{Key: []byte("u1")}); !runner.IsRefused(err) {
		t.Errorf("heal: %v", err)
	}
}

func TestAParkedRecordStillPublishesItsCart(t *testing.T) {
	for claim, c := range map[string]struct {
		key  string
		want int
	}{
		"of the user in its key":     {"u1", 1},
		"not of a user without one":  {"u2", 0},
		"not where no user is named": {"no user", 0},
	} {
		t.Run(claim, func(t *testing.T) {
			s := &shelf{carts: map[string]cart.View{"u1": at("u1", 3, 7)}}
			got, err := Consumer(s, nobody, prometheus.NewRegistry()).Heal(t.Context(), &kgo.Record{Key: []byte(c.key), Value: []byte("{")})
			if err != nil || len(got) != c.want {
				t.Fatalf("%d records, %v; want %d", len(got), err, c.want)
			}
		})
	}
}
