package live

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"cartstream/api/cart"
	"cartstream/schemas"
)

// shop is the truth: one cart in Redis, and the notices of its changes that are on their way.
type shop struct {
	view    cart.View
	fresh   bool // the generation rose since the last change
	notices []schemas.CartChanged
}

func (s *shop) change(book string, quantity int64) {
	c := schemas.CartChanged{
		UserID: "u1", Epoch: s.view.Generation, Version: s.view.Version + 1, Type: schemas.ItemSet,
		Whole: s.fresh || s.view.Version == 0, OccurredAt: schemas.Milliseconds(s.view.Version),
		Items: []schemas.Line{{BookID: book, Quantity: quantity, UnitPrice: 100, LineTotal: 100 * quantity, Availability: schemas.Available}},
	}
	after := s.view.Cart
	after.Items = append([]schemas.Line(nil), after.Items...)
	after.UserID = "u1"
	apply := c
	apply.Epoch, apply.Whole = after.Epoch, false
	after.Apply(apply)
	after.Epoch, after.Totals = c.Epoch, schemas.Sum(after.Items)
	c.Totals = after.Totals
	if c.Whole {
		c.Items = append(append([]schemas.Line(nil), after.Items...), dropped(c.Items[0])...)
	}
	s.view.Cart, s.fresh = after, false
	s.notices = append(s.notices, c)
}

func dropped(l schemas.Line) []schemas.Line {
	if l.Quantity == 0 {
		return []schemas.Line{l}
	}
	return nil
}

// Whatever is lost, repeated or late, and whenever the client is slow: each frame is the one that the contract allows
// next, what waits stays small, and after a check the client has what Redis has.
func TestABacklogOnlySendsWhatMayComeNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		truth := &shop{view: cart.View{Generation: 5}, fresh: true}
		client := newFollower()
		b := backlog{sent: nothing}
		b.load()
		read := truth.view // by the load under way
		load := func() {
			if b.loading {
				b.loaded(snapshotFrame(read.Shown()))
			} else if b.stale && len(b.frames) == 0 {
				b.load()
				read = truth.view
			}
		}
		send := func() {
			if f, ok := b.take(); ok {
				if err := client.apply(f.text); err != nil {
					t.Fatal(err)
				}
			}
		}
		notice := func(at int) {
			c := truth.notices[at]
			f, err := changeFrame("u1", string(schemas.EncodeCartChanged(c)))
			if err != nil {
				t.Fatal(err)
			}
			b.offer(f)
		}
		check := func() {
			shown := truth.view.Shown()
			b.offer(frame{at: cart.Tag{Epoch: shown.Epoch, Version: shown.Version}})
		}
		t.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) {
				for range rapid.IntRange(1, 40).Draw(t, "changes") {
					book := fmt.Sprint("b", rapid.IntRange(1, 3).Draw(t, "book"))
					truth.change(book, rapid.Int64Range(0, 3).Draw(t, "quantity"))
				}
			},
			"new generation": func(*rapid.T) { truth.view.Generation += 2; truth.fresh = true },
			"deliver in order": func(*rapid.T) {
				for i := range truth.notices {
					notice(i)
				}
				truth.notices = nil
			},
			"deliver any": func(t *rapid.T) {
				if n := len(truth.notices); n > 0 {
					notice(rapid.IntRange(0, n-1).Draw(t, "notice"))
				}
			},
			"lose":  func(*rapid.T) { truth.notices = nil },
			"check": func(*rapid.T) { check() },
			"load":  func(*rapid.T) { load() },
			"send":  func(*rapid.T) { send() },
			"": func(t *rapid.T) {
				if len(b.frames) > mostFrames {
					t.Fatalf("%d frames wait", len(b.frames))
				}
			},
		})
		for range 3 * mostFrames {
			load()
			send()
		}
		check()
		for range 3 {
			load()
			send()
		}
		want, _ := json.Marshal(truth.view.Shown().Items)
		got, _ := json.Marshal(client.Cart.Items)
		if len(truth.view.Items) == 0 {
			want = []byte("[]")
		}
		same := client.Cart.Epoch == truth.view.Shown().Epoch && client.Cart.Version == truth.view.Version
		if !same || string(got) != string(want) || !reflect.DeepEqual(client.Cart.Totals, truth.view.Totals) {
			t.Fatalf("client has %d.%d %s, Redis %d.%d %s", client.Cart.Epoch, client.Cart.Version, got,
				truth.view.Shown().Epoch, truth.view.Version, want)
		}
	})
}

func changeOf(epoch, version int64, whole bool, size int) frame {
	return frame{change, cart.Tag{Epoch: epoch, Version: version}, whole, make([]byte, size)}
}

func TestWhatIsOfferedToABacklog(t *testing.T) {
	for claim, c := range map[string]struct {
		offered frame
		found   gap
		waiting int
	}{
		"the next version waits":                         {changeOf(5, 8, false, 10), none, 1},
		"what the client has is dropped":                 {changeOf(5, 7, false, 10), none, 0},
		"what is older is dropped":                       {changeOf(4, 9, true, 10), none, 0},
		"a skipped version is a gap":                     {changeOf(5, 9, false, 10), byChange, 0},
		"a skipped version is a gap though all is there": {changeOf(5, 9, true, 10), byChange, 0},
		"a new epoch with all lines waits":               {changeOf(6, 8, true, 10), none, 1},
		"a new epoch may use numbers again":              {changeOf(6, 6, true, 10), none, 1},
		"a new epoch without all lines is a gap":         {changeOf(6, 8, false, 10), byChange, 0},
		"a new epoch that skips a version is a gap":      {changeOf(6, 9, true, 10), byChange, 0},
		"a check that finds more is a gap":               {frame{at: cart.Tag{Epoch: 5, Version: 8}}, byCheck, 0},
		"a check that finds a new epoch is a gap":        {frame{at: cart.Tag{Epoch: 6, Version: 7}}, byCheck, 0},
		"a check that finds the same finds nothing":      {frame{at: cart.Tag{Epoch: 5, Version: 7}}, none, 0},
		"a change of any size waits":                     {changeOf(5, 8, false, 2<<20), none, 1},
	} {
		t.Run(claim, func(t *testing.T) {
			b := backlog{sent: cart.Tag{Epoch: 5, Version: 7}}
			if found := b.offer(c.offered); found != c.found {
				t.Errorf("found %q, want %q", found, c.found)
			}
			if len(b.frames) != c.waiting || b.stale != (c.found != none) {
				t.Errorf("%d frames wait, stale %v", len(b.frames), b.stale)
			}
		})
	}
}

func TestABacklogThatGrowsTooLargeBecomesOneSnapshot(t *testing.T) {
	for claim, size := range map[string]int{"many small changes": 100, "few large changes": mostBytes / 4} {
		t.Run(claim, func(t *testing.T) {
			b := backlog{sent: nothing}
			b.load()
			b.loaded(frame{kind: snapshot, at: cart.Tag{Epoch: 5}, text: make([]byte, 2*mostBytes)})
			for version := int64(1); !b.stale; version++ {
				if len(b.frames) > mostFrames || b.bytes > mostBytes {
					t.Fatalf("%d changes with %d bytes wait", len(b.frames), b.bytes)
				}
				b.offer(changeOf(5, version, false, size))
			}
			if len(b.frames) != 0 {
				t.Errorf("%d frames wait besides the snapshot", len(b.frames))
			}
		})
	}
}

func TestEachLoadBringsTheClientOnHoweverFastChangesCome(t *testing.T) {
	b := backlog{sent: nothing}
	b.load()
	for version := int64(1); version < 10*mostFrames; version++ {
		b.offer(changeOf(5, version, false, 100))
	}
	if found := b.loaded(frame{kind: snapshot, at: cart.Tag{Epoch: 5, Version: 1}, text: []byte("x")}); found != backlogs {
		t.Errorf("found %q", found)
	}
	if f, ok := b.take(); !ok || f.kind != snapshot || !b.stale {
		t.Errorf("took %v %v, stale %v", f, ok, b.stale)
	}
}

func TestACartThatIsNoNewerThanWhatTheClientHasIsNotSent(t *testing.T) {
	for claim, at := range map[string]cart.Tag{"the same": {Epoch: 5, Version: 7}, "older": {Epoch: 5, Version: 6}} {
		t.Run(claim, func(t *testing.T) {
			b := backlog{sent: cart.Tag{Epoch: 5, Version: 7}}
			b.offer(changeOf(5, 9, false, 1))
			b.load()
			b.loaded(frame{kind: snapshot, at: at, text: []byte("x")})
			if f, ok := b.take(); ok {
				t.Errorf("took %v", f)
			}
			if b.offer(changeOf(5, 8, false, 1)); len(b.frames) != 1 {
				t.Error("does not go on from what the client has")
			}
		})
	}
}
