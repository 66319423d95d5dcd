package live

import (
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
)

func (d *device) frames(t *testing.T, want ...string) {
	t.Helper()
	if !reflect.DeepEqual(d.Frames, want) {
		t.Errorf("frames %v, want %v", d.Frames, want)
	}
}

func TestAClientGetsItsCartThenEachChange(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.change("u1", "emma", 1)
		d := w.connect("u1", "")
		w.change("u1", "emma", 2)
		w.change("u1", "faust", 1)
		w.change("u2", "emma", 7)
		d.next()
		d.next()
		d.frames(t, "snapshot", "change", "change")
		d.has(w, "u1")
	})
}

func TestAUserWithoutACartGetsAnEmptyOneThenTheFirstChange(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect("u1", "")
		d.has(w, "u1")
		w.change("u1", "emma", 1)
		d.next()
		d.frames(t, "snapshot", "change")
		d.has(w, "u1")
	})
}

func TestSince(t *testing.T) {
	for claim, c := range map[string]struct{ query, first string }{
		"that equals what GET shows needs no snapshot": {"?since=5.2", "current"},
		"of an older version gets a snapshot":          {"?since=5.1", "snapshot"},
		"of a newer version gets a snapshot":           {"?since=5.3", "snapshot"},
		"of another epoch gets a snapshot":             {"?since=4.2", "snapshot"},
		"without a version counts as none":             {"?since=5", "snapshot"},
		"with text counts as none":                     {"?since=5.two", "snapshot"},
		"with a sign counts as none":                   {"?since=%2B5.2", "snapshot"},
		"with more after it counts as none":            {"?since=5.2.0", "snapshot"},
		"with a huge number counts as none":            {"?since=5.99999999999999999999", "snapshot"},
		"with a bad escape counts as none":             {"?since=%zz", "snapshot"},
		"that is empty counts as none":                 {"?since=", "snapshot"},
	} {
		t.Run(claim, func(t *testing.T) {
			play(t, func(t *testing.T, w *world) {
				w.set("u1", "emma", 1)
				w.set("u1", "emma", 2)
				d := w.connect("u1", c.query)
				d.frames(t, c.first)
			})
		})
	}
}

func TestAChangeAfterCurrentGoesOnFromThere(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.set("u1", "emma", 1)
		d := w.connect("u1", "?since=5.1")
		w.change("u1", "emma", 2)
		d.next()
		d.frames(t, "current", "change")
	})
}

func TestTheShownEpochIsWhereAClientStarts(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.set("u1", "emma", 1)
		w.carts["u1"].view.Generation, w.carts["u1"].fresh = 9, true
		d := w.connect("u1", "?since=9.1")
		w.change("u1", "emma", 2) // the first under the new generation: whole
		d.next()
		d.frames(t, "current", "change")
		d.has(w, "u1")
	})
}

func TestWhatIsRepeatedOrLateIsDropped(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		first := w.set("u1", "emma", 1)
		d := w.connect("u1", "")
		second := w.set("u1", "emma", 2)
		for _, notice := range []string{first, second, first, second} {
			w.publish("u1", notice)
		}
		w.change("u1", "emma", 3)
		d.next()
		d.next()
		d.frames(t, "snapshot", "change", "change")
		d.has(w, "u1")
	})
}

func TestALostChangeIsMadeUpForByASnapshot(t *testing.T) {
	for claim, found := range map[string]func(w *world){
		"when the next change comes":              func(w *world) { w.change("u1", "faust", 1) },
		"within 30 seconds when none comes":       func(*world) { time.Sleep(30*time.Second + time.Millisecond) },
		"at once when the subscription was lost":  func(w *world) { listener{w.gateway}.Subscribed("u1") },
		"at once when a notice can't be read":     func(w *world) { w.publish("u1", "{") },
		"at once when a notice is another user's": func(w *world) { w.publish("u1", w.set("u2", "emma", 1)) },
		"at once when a notice isn't UTF-8": func(w *world) {
			w.publish("u1", strings.Replace(w.set("u1", "e", 1), `"title":"`, "\"title\":\"\xff", 1))
		},
		"soon after Redis was away for a moment":       redisAway(100*time.Millisecond, 3*recheckFirst/2),
		"though Redis is away for long meanwhile":      redisAway(10*time.Minute, 2*recheckMost),
		"though the cart can't be read for the moment": unreadable,
	} {
		t.Run(claim, func(t *testing.T) {
			play(t, func(t *testing.T, w *world) {
				d := w.connect("u1", "")
				d.follow()
				w.change("u1", "emma", 1)
				synctest.Wait()
				w.set("u1", "emma", 2) // lost
				found(w)
				synctest.Wait()
				d.frames(t, "snapshot", "change", "snapshot")
				d.has(w, "u1")
				w.change("u1", "emma", 4)
				synctest.Wait()
				d.frames(t, "snapshot", "change", "snapshot", "change")
			})
		})
	}
}

func redisAway(long, found time.Duration) func(w *world) {
	return func(w *world) {
		w.with(func() { w.err = errors.New("connection refused") })
		listener{w.gateway}.Subscribed("u1")
		time.Sleep(long)
		synctest.Wait()
		w.with(func() { w.err = nil })
		time.Sleep(found)
	}
}

func unreadable(w *world) {
	w.with(func() { w.err = errors.New("shard is recovering") })
	w.change("u1", "faust", 1) // shows the gap
	time.Sleep(5 * time.Second)
	w.with(func() { w.err = nil })
	time.Sleep(2 * retryMost)
}

func TestANewGenerationWithoutAChangeReachesTheClient(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.set("u1", "emma", 1)
		d := w.connect("u1", "")
		d.follow()
		w.with(func() { w.carts["u1"].view.Generation, w.carts["u1"].fresh = 9, true })
		time.Sleep(visitEvery + time.Millisecond)
		synctest.Wait()
		d.frames(t, "snapshot", "snapshot")
		d.has(w, "u1")
	})
}

func TestAnIdleClientHearsNothing(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.set("u1", "emma", 1)
		d := w.connect("u1", "")
		ended := d.follow()
		time.Sleep(time.Hour)
		synctest.Wait()
		d.frames(t, "snapshot")
		select {
		case code := <-ended:
			t.Errorf("closed with %d", code)
		default:
		}
		if w.reads < 100 || w.reads > 125 {
			t.Errorf("%d reads in an hour", w.reads)
		}
	})
}

func TestNoChangeFallsBetweenSubscribingAndReading(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		hold := make(chan struct{})
		w.with(func() { w.hold = hold })
		w.set("u1", "emma", 1)
		go func() {
			synctest.Wait() // the cart has been read, and the answer is on its way
			w.change("u1", "emma", 2)
			w.change("u1", "emma", 3)
			w.with(func() { w.hold = nil })
			close(hold)
		}()
		d := w.connect("u1", "")
		d.next()
		d.next()
		d.frames(t, "snapshot", "change", "change")
		d.has(w, "u1")
	})
}

func TestASubscriptionStandsBeforeTheCartIsRead(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.with(func() { w.silent = true })
		go func() {
			synctest.Wait()
			if w.reads != 0 {
				t.Error("read before Redis had confirmed the subscription")
			}
			close(w.follows["u1"])
		}()
		w.connect("u1", "")
	})
}

func TestDevicesOfAUserShareOneSubscription(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		a, b := w.connect("u1", ""), w.connect("u1", "")
		w.change("u1", "emma", 1)
		a.next()
		b.next()
		a.has(w, "u1")
		b.has(w, "u1")
		_ = a.conn.Close(websocket.StatusNormalClosure, "")
		synctest.Wait()
		w.change("u1", "emma", 2)
		b.next()
		b.has(w, "u1")
		_ = b.conn.CloseNow()
		synctest.Wait()
		if len(w.follows) != 0 {
			t.Errorf("still followed: %v", w.follows)
		}
		if n := w.metric(w.gateway.metrics.closes.WithLabelValues("client")); n != 2 {
			t.Errorf("%v closed by the client", n)
		}
	})
}

func TestWhoIsNotLetIn(t *testing.T) {
	for claim, c := range map[string]struct {
		token  string
		header http.Header
		given  func(w *world)
		status int
	}{
		"a client without a token":                 {"", nil, nil, 401},
		"a client with a bad token":                {"bad", nil, nil, 401},
		"another site's page":                      {"u1", http.Header{"Origin": {"https://evil.example"}}, nil, 403},
		"a page without an origin of its own":      {"u1", http.Header{"Origin": {"null"}}, nil, 403},
		"an allowed site's page by another way":    {"u1", http.Header{"Origin": {"http://shop.example"}}, nil, 403},
		"anybody while Redis confirms nothing":     {"u1", nil, func(w *world) { w.silent = true }, 503},
		"anybody while Redis can't be read":        {"u1", nil, func(w *world) { w.err = &unavailable }, 503},
		"anybody once the instance drains":         {"u1", nil, func(w *world) { w.stop() }, 503},
		"a browser that offers nothing but cart":   {"", http.Header{"Sec-Websocket-Protocol": {"cart.v1"}}, nil, 401},
		"a browser with a bad token, for instance": {"", http.Header{"Sec-Websocket-Protocol": {"cart.v1, bearer.bad"}}, nil, 401},
	} {
		t.Run(claim, func(t *testing.T) {
			play(t, func(t *testing.T, w *world) {
				if c.given != nil {
					c.given(w)
					synctest.Wait()
				}
				began := time.Now()
				d, status := w.dial(c.token, "", c.header)
				if d != nil || status != c.status {
					t.Errorf("status %d, want %d", status, c.status)
				}
				if took := time.Since(began); took >= time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestWhoIsLetIn(t *testing.T) {
	for claim, c := range map[string]struct {
		token    string
		header   http.Header
		protocol string
	}{
		"a program with a token":         {"u1", nil, ""},
		"a page of the same origin":      {"u1", http.Header{"Origin": {"https://api.example"}}, ""},
		"a page of an allowed origin":    {"u1", http.Header{"Origin": {"https://Shop.example"}}, ""},
		"a browser by subprotocols":      {"", http.Header{"Sec-Websocket-Protocol": {"cart.v1, bearer.u1"}}, "cart.v1"},
		"a program that names its terms": {"u1", http.Header{"Sec-Websocket-Protocol": {"cart.v1"}}, "cart.v1"},
	} {
		t.Run(claim, func(t *testing.T) {
			play(t, func(t *testing.T, w *world) {
				d, status := w.dial(c.token, "", c.header)
				if d == nil {
					t.Fatalf("status %d", status)
				}
				if p := d.conn.Subprotocol(); p != c.protocol {
					t.Errorf("protocol %q, want %q", p, c.protocol)
				}
				d.next()
				d.has(w, "u1")
			})
		})
	}
}
